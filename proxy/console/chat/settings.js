// What holds for a whole conversation: name, project, system prompt, role.

import { Dialog } from "../app/dialogs.js";
import { html, useState } from "../app/html.js";
import { t } from "../app/strings.js";
import { Button, Field } from "../app/ui.js";
import { projects } from "./conversations.js";

export function SettingsDialog({ about, close }) {
  const [fields, setFields] = useState({
    name: about.name ?? "",
    project_id: about.project_id ?? 0,
    assistance_role: about.assistance_role ?? "",
    system_prompt: about.system_prompt ?? "",
  });
  const set = (name) => (event) => setFields({ ...fields, [name]: event.target.value });
  const submit = () => {
    const changed = Object.entries(fields).filter(([name, value]) => value !== (about[name] ?? (name === "project_id" ? 0 : "")));
    close(Object.fromEntries(changed));
  };
  return html`<${Dialog} title=${t("conversation.settings")} close=${close} wide onSubmit=${submit} actions=${html`
    <${Button} onClick=${() => close()}>${t("cancel")}<//>
    <button class="button primary">${t("save")}</button>`}>
    <${Field} label=${t("conversation.name")}>${(id) => html`<input id=${id} autofocus maxlength="500" value=${fields.name} onInput=${set("name")} />`}<//>
    <${Field} label=${t("project")}>
      ${(id) => html`<select id=${id} value=${fields.project_id} onChange=${(event) => setFields({ ...fields, project_id: Number(event.target.value) })}>
        <option value="0" selected=${!fields.project_id}>${t("project.none")}</option>
        ${projects.value.map((project) => html`<option value=${project.id} selected=${project.id === fields.project_id}>${project.name}</option>`)}
      </select>`}
    <//>
    <${Field} label=${t("conversation.role")} hint=${t("conversation.roleHint")}>
      ${(id, described) => html`<input id=${id} aria-describedby=${described} maxlength="500" value=${fields.assistance_role} onInput=${set("assistance_role")} />`}
    <//>
    <${Field} label=${t("conversation.prompt")} hint=${t("conversation.promptHint")}>
      ${(id, described) => html`<textarea id=${id} aria-describedby=${described} rows="10" value=${fields.system_prompt} onInput=${set("system_prompt")} />`}
    <//>
  <//>`;
}
