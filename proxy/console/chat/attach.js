// What one call takes along: plan documents, the project's source, a sentence for the system prompt.

import { get } from "../app/api.js";
import { Dialog } from "../app/dialogs.js";
import { html, useState } from "../app/html.js";
import { count } from "../app/format.js";
import { t } from "../app/strings.js";
import { Button, Field, Loading, Notice, useLoaded } from "../app/ui.js";
import { patternsOf } from "../source/patterns.js";

export function AttachDialog({ attached, projectId, close }) {
  const [documents, setDocuments] = useState(attached.documents);
  const [source, setSource] = useState(attached.source);
  const [prompt, setPrompt] = useState(attached.prompt);
  return html`<${Dialog} title=${t("attach.title")} close=${close} onSubmit=${() => close({ documents, source, prompt })} actions=${html`
    <${Button} onClick=${() => close()}>${t("cancel")}<//>
    <button class="button primary">${t("attach.take")}</button>`}>
    <h3>${t("attach.documents")}</h3>
    <${Documents} projectId=${projectId} chosen=${documents} change=${setDocuments} />
    <h3>${t("attach.source")}</h3>
    ${projectId
      ? html`<${Source} projectId=${projectId} source=${source} change=${setSource} />`
      : html`<p class="hint">${t("attach.noProject")}</p>`}
    <${Field} label=${t("attach.prompt")} hint=${t("attach.promptHint")}>
      ${(id, described) => html`<textarea id=${id} aria-describedby=${described} rows="3" value=${prompt} onInput=${(event) => setPrompt(event.target.value)} />`}
    <//>
  <//>`;
}

function Documents({ projectId, chosen, change }) {
  const [text, setText] = useState("");
  const { data, error } = useLoaded(
    (signal) => get("v1/plan/documents/latest", { project_id: projectId || "", query: text, page_size: 50 }, { signal }),
    [text],
  );
  const toggle = (document) => {
    const without = chosen.filter((each) => each.id !== document.id);
    change(without.length < chosen.length ? without : [...chosen, { id: document.id, filename: document.filename }]);
  };
  return html`
    <input type="search" aria-label=${t("attach.search")} placeholder=${t("attach.search")} value=${text} onInput=${(event) => setText(event.target.value)} />
    ${error ? html`<${Notice} kind="error">${error.message}<//>` : !data ? html`<${Loading} />` : html`<ul class="checks">
      ${data.items.map(
        (document) => html`<li key=${document.id}><label>
          <input type="checkbox" checked=${chosen.some((each) => each.id === document.id)} onChange=${() => toggle(document)} />
          <span>${document.filename} <span class="hint">${t("version", { version: document.version })}</span></span>
        </label></li>`,
      )}
      ${!data.items.length && html`<li class="hint">${t("nothing")}</li>`}
    </ul>`}`;
}

function Source({ projectId, source, change }) {
  const set = (fields) => change({ ...source, ...fields });
  const text = (name) => (id, described) =>
    html`<input id=${id} aria-describedby=${described} value=${source[name].join(", ")} onChange=${(event) => set({ [name]: patternsOf(event.target.value) })} />`;
  return html`
    <label class="check"><input type="checkbox" checked=${Boolean(source)} onChange=${(event) =>
      change(event.target.checked ? { include: [], exclude: [], max_tokens: null, since: false } : null)} />
      <span>${t("attach.sourceTake")}</span></label>
    ${source &&
    html`<div class="columns">
      <${Field} label=${t("source.include")} hint=${t("source.patterns")}>${text("include")}<//>
      <${Field} label=${t("source.exclude")}>${text("exclude")}<//>
      <${Field} label=${t("source.maxTokens")}>
        ${(id) => html`<input id=${id} type="number" min="1" value=${source.max_tokens ?? ""} onChange=${(event) => set({ max_tokens: Number(event.target.value) || null })} />`}
      <//>
      <label class="check"><input type="checkbox" checked=${source.since} onChange=${(event) => set({ since: event.target.checked })} /><span>${t("attach.since")}</span></label>
    </div>
    <${SourceCost} projectId=${projectId} source=${source} />`}`;
}

function SourceCost({ projectId, source }) {
  const { include, exclude, max_tokens: most } = source;
  const { data, error, loading } = useLoaded(
    (signal) => get(`v1/projects/${projectId}/complete-source-code`, { include, exclude, max_tokens: most, text: false }, { signal }),
    [JSON.stringify([include, exclude, most])],
  );
  if (error) return html`<${Notice} kind="error">${error.message}<//>`;
  if (!data || loading) return html`<${Loading} />`;
  return html`<p class="hint">${t("attach.sourceCost", { files: count(data.files.length), tokens: count(data.total_tokens) })}</p>`;
}
