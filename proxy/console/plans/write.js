// A document that a person writes.

import { get, post } from "../app/api.js";
import { Dialog } from "../app/dialogs.js";
import { html, useState } from "../app/html.js";
import { t } from "../app/strings.js";
import { attempt } from "../app/toast.js";
import { Button, Field, Loading, useLoaded } from "../app/ui.js";
import { projects } from "../chat/conversations.js";

export function NewDocumentDialog({ projectId, categoryId, close }) {
  const [fields, setFields] = useState({ project_id: projectId, category_id: categoryId, filename: "", content: "" });
  const categories = useLoaded((signal) => get("v1/plan/categories", {}, { signal }), []);
  const set = (name, of = String) => (event) => setFields({ ...fields, [name]: of(event.target.value) });
  const category = fields.category_id || categories.data?.[0]?.id;
  const submit = () => attempt(async () => close(await post("v1/plan/documents", { ...fields, category_id: category, source: "user" })));
  if (!categories.data) return html`<${Dialog} title=${t("plan.write")} close=${close}><${Loading} /><//>`;
  return html`<${Dialog} title=${t("plan.write")} close=${close} wide onSubmit=${submit} actions=${html`
    <${Button} onClick=${() => close()}>${t("cancel")}<//><button class="button primary">${t("save")}</button>`}>
    <div class="columns">
      <${Field} label=${t("plan.filename")}>${(id) => html`<input id=${id} required autofocus placeholder=${t("plan.filenameHint")} value=${fields.filename} onInput=${set("filename")} />`}<//>
      <${Field} label=${t("plan.category")}>${(id) => html`<select id=${id} onChange=${set("category_id", Number)}>
        ${categories.data.map((each) => html`<option value=${each.id} selected=${each.id === category}>${each.name}</option>`)}</select>`}<//>
      <${Field} label=${t("project")}>${(id) => html`<select id=${id} onChange=${set("project_id", Number)}>
        <option value="0" selected=${!fields.project_id}>${t("project.none")}</option>
        ${projects.value.map((each) => html`<option value=${each.id} selected=${each.id === fields.project_id}>${each.name}</option>`)}</select>`}<//>
    </div>
    <${Field} label=${t("plan.text")}>${(id) => html`<textarea id=${id} rows="16" value=${fields.content} onInput=${set("content")}></textarea>`}<//>
  <//>`;
}
