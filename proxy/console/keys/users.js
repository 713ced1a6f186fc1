// People who log in with a browser; hidden where the server does not list them.

import { get, post, put, remove } from "../app/api.js";
import { confirm, Dialog, open } from "../app/dialogs.js";
import { html, useState } from "../app/html.js";
import { fullDate } from "../app/format.js";
import { Icon } from "../app/icons.js";
import { t } from "../app/strings.js";
import { attempt, say } from "../app/toast.js";
import { Button, Field, Menu, Notice, useLoaded } from "../app/ui.js";

export function Users() {
  const { data, error, reload } = useLoaded((signal) => get("v1/users", {}, { signal }), []);
  if (error) return [404, 403].includes(error.status) ? null : html`<${Notice} kind="error">${error.message}<//>`;
  if (!data) return null;
  const create = async () => {
    if (await open(UserDialog)) reload();
  };
  const setPassword = async (user) => {
    if (await open(UserDialog, { user })) say(t("user.changed"));
  };
  const drop = (user) =>
    attempt(async () => {
      if (!(await confirm(t("delete.title"), t("user.delete", { name: user.name }), t("delete")))) return;
      await remove(`v1/users/${user.id}`);
      reload();
    });
  return html`<section>
    <header class="page-head"><h2>${t("user.title")}</h2><${Button} onClick=${create}><${Icon} name="plus" />${t("user.new")}<//></header>
    ${!data.length ? html`<p class="hint">${t("user.none")}</p>` : html`<div class="table-box" tabindex="0"><table>
      <thead><tr><th scope="col">${t("login.name")}</th><th scope="col">${t("key.owner")}</th><th scope="col">${t("key.scopes")}</th><th scope="col">${t("fact.created")}</th><th></th></tr></thead>
      <tbody>${data.map(
        (user) => html`<tr key=${user.id}><th scope="row">${user.name}</th><td>${user.owner}</td><td>${user.scopes.join(", ")}</td><td>${fullDate(user.created_at)}</td>
          <td><${Menu} label=${t("key.more", { name: user.name })} items=${[
            { label: t("user.password"), icon: "keys", run: () => setPassword(user) },
            { label: t("delete"), icon: "trash", danger: true, run: () => drop(user) },
          ]} /></td></tr>`,
      )}</tbody></table></div>`}
  </section>`;
}

function UserDialog({ user, close }) {
  const [fields, setFields] = useState({ name: user?.name ?? "", password: "", admin: false });
  const set = (name) => (event) => setFields({ ...fields, [name]: event.target.value });
  const submit = () =>
    attempt(async () => {
      const { name, password } = fields;
      const scopes = ["chat", "plan", "project", ...(fields.admin ? ["admin"] : [])];
      close(user ? await put(`v1/users/${user.id}`, { password }) : await post("v1/users", { name, password, scopes }));
    });
  return html`<${Dialog} title=${user ? t("user.password") : t("user.new")} close=${close} onSubmit=${submit} actions=${html`
    <${Button} onClick=${() => close()}>${t("cancel")}<//><button class="button primary">${t("save")}</button>`}>
    ${!user && html`<${Field} label=${t("login.name")}>${(id) => html`<input id=${id} required autofocus maxlength="100" autocomplete="off" value=${fields.name} onInput=${set("name")} />`}<//>`}
    <${Field} label=${t("login.password")}>${(id) => html`<input id=${id} type="password" required autocomplete="new-password" value=${fields.password} onInput=${set("password")} />`}<//>
    ${!user && html`<label class="check"><input type="checkbox" checked=${fields.admin} onChange=${(event) => setFields({ ...fields, admin: event.target.checked })} /><span>admin <span class="hint">${t("scope.admin")}</span></span></label>`}
  <//>`;
}
