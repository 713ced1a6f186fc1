// Files by folder, each with its tokens; a folder is listed when it is opened.

import { html, useMemo, useState } from "../app/html.js";
import { count } from "../app/format.js";
import { Icon } from "../app/icons.js";
import { t } from "../app/strings.js";

const MOST_ENTRIES = 500;

export function Tree({ files, total }) {
  const root = useMemo(() => folderOf(files), [files]);
  return html`<div class="tree card"><${Entries} folder=${root} total=${total} /></div>`;
}

function folderOf(files) {
  const root = { folders: new Map(), files: [], tokens: 0, redactions: 0 };
  for (const file of files) {
    const parts = file.path.split("/");
    const name = parts.pop();
    let folder = root;
    add(folder, file);
    for (const part of parts) {
      if (!folder.folders.has(part)) folder.folders.set(part, { folders: new Map(), files: [], tokens: 0, redactions: 0 });
      folder = folder.folders.get(part);
      add(folder, file);
    }
    folder.files.push({ ...file, name });
  }
  return root;
}

function add(folder, file) {
  folder.tokens += file.tokens;
  folder.redactions += file.redactions;
}

function Entries({ folder, total }) {
  const folders = [...folder.folders].sort((one, other) => other[1].tokens - one[1].tokens);
  const files = [...folder.files].sort((one, other) => other.tokens - one.tokens);
  return html`<ul>
    ${folders.map(([name, inside]) => html`<li key=${name}><${Folder} name=${name} folder=${inside} total=${total} /></li>`)}
    ${files.slice(0, MOST_ENTRIES).map((file) => html`<li key=${file.path}><div class="tree-row"><${Icon} name="file" /><span class="path">${file.name}</span><${Tokens} of=${file} total=${total} /></div></li>`)}
    ${files.length > MOST_ENTRIES && html`<li class="hint">${t("source.more", { count: count(files.length - MOST_ENTRIES) })}</li>`}
  </ul>`;
}

function Folder({ name, folder, total }) {
  const [open, setOpen] = useState(false);
  return html`<details open=${open} onToggle=${(event) => setOpen(event.target.open)}>
    <summary class="tree-row"><${Icon} name="folder" /><span class="path">${name}/</span><${Tokens} of=${folder} total=${total} /></summary>
    ${open && html`<${Entries} folder=${folder} total=${total} />`}
  </details>`;
}

function Tokens({ of, total }) {
  return html`${of.redactions > 0 && html`<span class="chip">${t("source.redactions", { count: of.redactions })}</span>`}
    <meter min="0" max=${total || 1} value=${of.tokens} aria-hidden="true"></meter><span class="number">${count(of.tokens)}</span>`;
}
