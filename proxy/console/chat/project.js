// A project: a name for conversations and documents, and where its source lies.

import { confirm, Dialog } from "../app/dialogs.js";
import { html, useState } from "../app/html.js";
import { t } from "../app/strings.js";
import { attempt } from "../app/toast.js";
import { Button, Field } from "../app/ui.js";
import { deleteProject, saveProject } from "./conversations.js";

const FIELDS = ["name", "ai_work_dir", "dev_environment"];

export function ProjectDialog({ project, close }) {
  const [fields, setFields] = useState(Object.fromEntries(FIELDS.map((name) => [name, project?.[name] ?? ""])));
  const set = (name) => (event) => setFields({ ...fields, [name]: event.target.value });
  const submit = () =>
    attempt(async () => close(await saveProject(project?.id, fields)));
  const remove = () =>
    attempt(async () => {
      if (!(await confirm(t("delete.title"), t("project.delete", { name: project.name }), t("delete")))) return;
      await deleteProject(project.id);
      close(true);
    });
  const input = (name) => (id, described) =>
    html`<input id=${id} aria-describedby=${described} value=${fields[name]} required=${name === "name"} autofocus=${name === "name"} onInput=${set(name)} />`;
  return html`<${Dialog} title=${project ? t("project.edit") : t("project.new")} close=${close} onSubmit=${submit} actions=${html`
    ${project && html`<${Button} kind="danger" onClick=${remove}>${t("delete")}<//>`}
    <${Button} onClick=${() => close()}>${t("cancel")}<//>
    <button class="button primary">${t("save")}</button>`}>
    <${Field} label=${t("project.name")}>${input("name")}<//>
    <${Field} label=${t("project.directory")} hint=${t("project.directoryHint")}>${input("ai_work_dir")}<//>
    <${Field} label=${t("project.environment")} hint=${t("project.environmentHint")}>
      ${(id, described) => html`<textarea id=${id} aria-describedby=${described} rows="3" value=${fields.dev_environment} onInput=${set("dev_environment")} />`}
    <//>
  <//>`;
}
