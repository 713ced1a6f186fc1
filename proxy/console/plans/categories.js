// The categories of documents, and the prompts that documents of each are made with.

import { address } from "../app/address.js";
import { post, put, remove } from "../app/api.js";
import { confirm, Dialog, open } from "../app/dialogs.js";
import { html, useState } from "../app/html.js";
import { Icon } from "../app/icons.js";
import { t } from "../app/strings.js";
import { attempt } from "../app/toast.js";
import { Button, Field } from "../app/ui.js";

const METHODS = ["PlanGetRequest", "PlanExecuteRequest"];

export function Categories({ list, changed }) {
  const edit = async (category) => {
    if (await open(CategoryDialog, { category, list })) changed();
  };
  return html`<div class="page-content">
    <header class="page-head">
      <a class="icon-button back" href=${address("plans")} aria-label=${t("back")}><${Icon} name="back" /></a>
      <h1>${t("plan.categories")}</h1>
      <${Button} onClick=${() => edit(null)}><${Icon} name="plus" />${t("plan.newCategory")}<//>
    </header>
    <ul class="cards">${list.map(
      (each) => html`<li key=${each.id} class="card">
        <div class="row"><h2>${each.name}</h2>${each.is_builtin && html`<span class="chip">${t("plan.builtin")}</span>`}
          <span class="hint">${[each.message_method, each.summary_model].filter(Boolean).join(" · ")}</span></div>
        <pre class="plain template" tabindex="0">${each.prompt_template}</pre>
        <div class="row end"><${Button} kind="small" onClick=${() => edit(each)}>${t("action.edit")}<//></div>
      </li>`,
    )}</ul>
  </div>`;
}

function CategoryDialog({ category, list, close }) {
  const [fields, setFields] = useState({
    name: category?.name ?? "",
    prompt_template: category?.prompt_template ?? "{doc}",
    message_method: category?.message_method ?? METHODS[0],
    summary_model: category?.summary_model ?? "",
    auto_save_category_id: category?.auto_save_category_id ?? -1,
  });
  const set = (name, of = String) => (event) => setFields({ ...fields, [name]: of(event.target.value) });
  const submit = () =>
    attempt(async () => close(category ? await put(`v1/plan/categories/${category.id}`, fields) : await post("v1/plan/categories", fields)));
  const drop = () =>
    attempt(async () => {
      if (!(await confirm(t("delete.title"), category.name, t("delete")))) return;
      await remove(`v1/plan/categories/${category.id}`);
      close(true);
    });
  return html`<${Dialog} title=${category?.name ?? t("plan.newCategory")} close=${close} wide onSubmit=${submit} actions=${html`
    ${category && !category.is_builtin && html`<${Button} kind="danger" onClick=${drop}>${t("delete")}<//>`}
    <${Button} onClick=${() => close()}>${t("cancel")}<//><button class="button primary">${t("save")}</button>`}>
    <div class="columns">
      <${Field} label=${t("project.name")}>${(id) => html`<input id=${id} required autofocus value=${fields.name} onInput=${set("name")} />`}<//>
      <${Field} label=${t("plan.method")}>${(id) => html`<select id=${id} value=${fields.message_method} onChange=${set("message_method")}>
        ${METHODS.map((name) => html`<option selected=${name === fields.message_method}>${name}</option>`)}</select>`}<//>
      <${Field} label=${t("plan.summaryModel")}>${(id) => html`<input id=${id} value=${fields.summary_model} onInput=${set("summary_model")} />`}<//>
      <${Field} label=${t("plan.autoSave")}>${(id) => html`<select id=${id} onChange=${set("auto_save_category_id", Number)}>
        <option value="-1" selected=${fields.auto_save_category_id < 1}>–</option>
        ${list.map((each) => html`<option value=${each.id} selected=${each.id === fields.auto_save_category_id}>${each.name}</option>`)}</select>`}<//>
    </div>
    <${Field} label=${t("plan.template")} hint=${t("plan.templateHint")}>
      ${(id, described) => html`<textarea id=${id} aria-describedby=${described} rows="12" value=${fields.prompt_template} onInput=${set("prompt_template")}></textarea>`}<//>
  <//>`;
}
