// One document: its versions, what differs between them, its tags, where it came from.

import { address, go } from "../app/address.js";
import { get, post, put, remove } from "../app/api.js";
import { ask, confirm } from "../app/dialogs.js";
import { html, useState } from "../app/html.js";
import { fullTime, saveAs } from "../app/format.js";
import { Icon } from "../app/icons.js";
import { t } from "../app/strings.js";
import { attempt, say } from "../app/toast.js";
import { Button, IconButton, Loading, Menu, Notice, useLoaded } from "../app/ui.js";
import { projectName } from "../chat/conversations.js";
import { Difference } from "../diff/view.js";
import { Markdown } from "../markdown/view.js";
import { Provenance } from "./provenance.js";

export function Document({ id, categories, changed }) {
  const { data, error, reload } = useLoaded((signal) => load(id, signal), [id]);
  const [mode, setMode] = useState("read");
  const [against, setAgainst] = useState(null);
  const [draft, setDraft] = useState("");
  const back = html`<a class="icon-button back" href=${address("plans")} aria-label=${t("back")}><${Icon} name="back" /></a>`;
  if (error) return html`<div class="page-content">${back}<${Notice} kind="error">${error.message}<//></div>`;
  if (!data) return html`<div class="page-content">${back}<${Loading} /></div>`;
  const { document, versions, tags } = data;
  const newest = versions[0];
  const other = versions.find((each) => each.id === against) ?? versions.find((each) => each.version < document.version);
  const category = categories.find((each) => each.id === document.category_id)?.name ?? "";

  const show = (saved) => {
    changed();
    setMode("read");
    if (saved.id === document.id) reload();
    else go(address("plans", String(saved.id)));
  };
  const save = () => attempt(async () => show(await put(`v1/plan/documents/${id}`, { content: draft, source: "user" })));
  const restore = () =>
    attempt(async () => {
      show(await post(`v1/plan/documents/${id}/restore`));
      say(t("plan.restored", { version: document.version }));
    });
  const rename = () =>
    attempt(async () => {
      const filename = await ask({ title: t("plan.copyAs"), label: t("plan.filename"), value: document.filename });
      if (filename && filename !== document.filename) show(await put(`v1/plan/documents/${id}`, { filename }));
    });
  const drop = (all) =>
    attempt(async () => {
      const text = all ? t("plan.deleteAll", { name: document.filename, count: versions.length }) : t("plan.deleteOne", { version: document.version });
      if (!(await confirm(t("delete.title"), text, t("delete")))) return;
      const { project_id, category_id, filename } = document;
      if (all) await remove("v1/plan/documents", { project_id, category_id, filename });
      else await remove(`v1/plan/documents/${id}`);
      changed();
      const left = all ? null : versions.find((each) => each.id !== document.id);
      go(left ? address("plans", String(left.id)) : address("plans"));
    });
  const items = [
    { label: t("plan.download"), icon: "save", run: () => saveAs(document.filename, document.content) },
    { label: t("plan.copyAs"), icon: "copy", run: rename },
    null,
    { label: t("plan.deleteVersion"), icon: "trash", danger: true, run: () => drop(false) },
    { label: t("plan.deleteFile"), icon: "trash", danger: true, run: () => drop(true) },
  ];
  return html`<div class="page-content">
    <header class="page-head">
      ${back}
      <div class="head-title"><h1>${document.filename}</h1>
        <p class="hint">${[category, projectName(document.project_id), t(`plan.source.${document.source}`), fullTime(document.created_time)].filter(Boolean).join(" · ")}</p>
      </div>
      <select class="fit" aria-label=${t("plan.versions")} value=${document.id} onChange=${(event) => go(address("plans", event.target.value))}>
        ${versions.map((each) => html`<option value=${each.id} selected=${each.id === document.id}>${t("version", { version: each.version })}${each.id === newest.id ? ` (${t("plan.newest")})` : ""}</option>`)}
      </select>
      <${Menu} label=${t("plan.moreDocument")} items=${items} />
    </header>
    <${Tags} id=${document.id} tags=${tags} reload=${reload} />
    <${Provenance} document=${document} />
    <div class="row" role="group" aria-label=${t("plan.view")}>
      ${["read", "compare", "edit"].map(
        (name) => html`<button type="button" class="button small" aria-pressed=${mode === name} disabled=${name === "compare" && !other}
          onClick=${() => {
            setMode(name);
            if (name === "edit") setDraft(document.content);
          }}>${t(`plan.${name}`)}</button>`,
      )}
      ${document.id !== newest.id && html`<${Button} kind="small" onClick=${restore}>${t("plan.restore")}<//>`}
      ${mode === "compare" && other &&
      html`<select class="fit" aria-label=${t("plan.compareWith")} value=${other.id} onChange=${(event) => setAgainst(Number(event.target.value))}>
        ${versions.filter((each) => each.id !== document.id).map((each) => html`<option value=${each.id} selected=${each.id === other.id}>${t("plan.with", { version: each.version })}</option>`)}
      </select>`}
    </div>
    ${mode === "edit"
      ? html`<textarea class="document-text" rows="24" aria-label=${t("plan.text")} value=${draft} onInput=${(event) => setDraft(event.target.value)}></textarea>
          <div class="row end"><${Button} onClick=${() => setMode("read")}>${t("cancel")}<//><${Button} kind="primary" disabled=${draft === document.content} onClick=${save}>${t("plan.saveVersion")}<//></div>`
      : mode === "compare" && other
        ? html`<${Difference} before=${other.content} after=${document.content} split />`
        : html`<article class="paper"><${Markdown} key=${document.id} text=${document.content} /></article>`}
  </div>`;
}

async function load(id, signal) {
  const document = await get(`v1/plan/documents/${id}`, {}, { signal });
  const { project_id, category_id, filename } = document;
  const [versions, tags] = await Promise.all([
    get("v1/plan/documents/history", { project_id, category_id, filename }, { signal }),
    get(`v1/plan/documents/${id}/tags`, {}, { signal }),
  ]);
  return { document, versions, tags: tags.tags };
}

function Tags({ id, tags, reload }) {
  const change = (work) => attempt(async () => {
    await work();
    reload();
  });
  const add = (event) => {
    event.preventDefault();
    const input = event.target.elements.tag;
    const name = input.value.trim();
    if (!name) return;
    input.value = "";
    change(() => post(`v1/plan/documents/${id}/tags`, { tag_name: name }));
  };
  return html`<div class="chips">
    ${tags.map(
      (tag) => html`<span class="chip" key=${tag.id}><${Icon} name="tag" />${tag.tag_name}
        <${IconButton} icon="close" label=${t("plan.removeTag", { tag: tag.tag_name })}
          onClick=${() => change(() => post(`v1/plan/documents/${id}/tags:batch`, { remove: [tag.tag_name] }))} /></span>`,
    )}
    <form class="tag-form" onSubmit=${add}><input name="tag" maxlength="100" aria-label=${t("plan.addTag")} placeholder=${t("plan.addTag")} /></form>
  </div>`;
}
