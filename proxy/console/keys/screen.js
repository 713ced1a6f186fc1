// Who may use the server, how much, and since when they have not.

import { get, post, remove, sentKey } from "../app/api.js";
import { confirm, Dialog, open } from "../app/dialogs.js";
import { html, useState } from "../app/html.js";
import { count, fullDate, shortTime } from "../app/format.js";
import { Icon } from "../app/icons.js";
import { me, useKey } from "../app/session.js";
import { t } from "../app/strings.js";
import { attempt, say } from "../app/toast.js";
import { Button, Field, Loading, Menu, Notice, useLoaded } from "../app/ui.js";
import { copyText } from "../markdown/code.js";
import { Users } from "./users.js";

const SCOPES = ["chat", "plan", "project", "admin"];
const LIMITS = ["requests_per_minute", "tokens_per_day", "streams"];

export default function KeysScreen() {
  const { data, error, reload } = useLoaded((signal) => get("v1/keys", {}, { signal }), []);
  const create = async () => {
    const isFirst = me.value.by === "open";
    const made = await open(KeyDialog, { isFirst });
    if (!made) return;
    // The first key locks the server; without it this tab would be locked out, too.
    if (isFirst) await attempt(() => useKey(made.key));
    reload();
    await open(SecretDialog, { made });
  };
  return html`<main class="page" tabindex="-1"><div class="page-content">
    <header class="page-head"><h1>${t("screen.keys")}</h1><${Button} kind="primary" onClick=${create}><${Icon} name="plus" />${t("key.new")}<//></header>
    ${error ? html`<${Notice} kind="error">${error.message}<//>` : !data ? html`<${Loading} />` : html`<${Keys} keys=${data} reload=${reload} />`}
    <${Users} />
  </div></main>`;
}

function Keys({ keys, reload }) {
  if (!keys.length) return html`<${Notice}>${t("key.none")}<//>`;
  const rotate = (key) =>
    attempt(async () => {
      if (!(await confirm(t("key.rotate"), t("key.rotateText", { name: key.name }), t("key.rotate"), { danger: false }))) return;
      const made = await post(`v1/keys/${key.id}/rotate`);
      // The key that this tab sends has just stopped working.
      if (sentKey().endsWith(key.last4)) await useKey(made.key);
      reload();
      await open(SecretDialog, { made });
    });
  const revoke = (key) =>
    attempt(async () => {
      if (!(await confirm(t("key.revoke"), t("key.revokeText", { name: key.name }), t("key.revoke")))) return;
      await remove(`v1/keys/${key.id}`);
      reload();
      say(t("key.revoked"));
    });
  const items = (key) => [
    { label: t("key.rotate"), icon: "again", run: () => rotate(key) },
    { label: t("key.revoke"), icon: "trash", danger: true, run: () => revoke(key) },
  ];
  return html`<div class="table-box" tabindex="0"><table>
    <thead><tr>${["name", "owner", "scopes", "limits", "used", "expires"].map((name) => html`<th scope="col">${t(`key.${name}`)}</th>`)}<th scope="col"><span class="off-screen">${t("action.more")}</span></th></tr></thead>
    <tbody>${[...keys].reverse().map(
      (key) => html`<tr key=${key.id} class=${key.revoked_at ? "gone" : ""}>
        <th scope="row">${key.name} <span class="hint">…${key.last4}</span></th>
        <td>${key.owner}</td><td>${key.scopes.join(", ")}</td><td>${limitsOf(key)}</td>
        <td title=${t("key.requests", { count: count(key.requests) })}>${shortTime(key.last_used_at) || t("key.never")}</td>
        <td>${key.revoked_at ? t("key.revokedAt", { time: fullDate(key.revoked_at) }) : fullDate(key.expires_at)}</td>
        <td>${!key.revoked_at && html`<${Menu} label=${t("key.more", { name: key.name })} items=${items(key)} />`}</td>
      </tr>`,
    )}</tbody>
  </table></div>`;
}

function limitsOf(key) {
  const found = LIMITS.filter((name) => key[name] !== null).map((name) => t(`limit.${name}`, { count: count(key[name]) }));
  return found.join(", ") || "–";
}

function KeyDialog({ isFirst, close }) {
  const scopes = isFirst ? SCOPES : SCOPES.slice(0, 3);
  const [fields, setFields] = useState({ name: "", owner: "", expires: "", scopes });
  const set = (name) => (event) => setFields({ ...fields, [name]: event.target.value });
  const toggle = (scope) =>
    setFields({ ...fields, scopes: fields.scopes.includes(scope) ? fields.scopes.filter((each) => each !== scope) : [...fields.scopes, scope] });
  const submit = () =>
    attempt(async () => {
      const body = { name: fields.name, scopes: fields.scopes };
      if (fields.owner) body.owner = fields.owner;
      if (fields.expires) body.expires_at = new Date(`${fields.expires}T23:59:59`).toISOString();
      for (const name of LIMITS) if (fields[name]) body[name] = Number(fields[name]);
      close(await post("v1/keys", body));
    });
  const input = (name, rest = {}) => (id, described) => html`<input id=${id} aria-describedby=${described} value=${fields[name] ?? ""} onInput=${set(name)} ...${rest} />`;
  return html`<${Dialog} title=${t("key.new")} close=${close} onSubmit=${submit} actions=${html`
    <${Button} onClick=${() => close()}>${t("cancel")}<//><button class="button primary" disabled=${!fields.scopes.length}>${t("key.create")}</button>`}>
    ${isFirst && html`<${Notice} kind="warning">${t("key.first")}<//>`}
    <${Field} label=${t("key.name")}>${input("name", { required: true, autofocus: true, maxlength: 100 })}<//>
    <fieldset><legend>${t("key.scopes")}</legend>${SCOPES.map(
      (scope) => html`<label class="check"><input type="checkbox" checked=${fields.scopes.includes(scope)} onChange=${() => toggle(scope)} /><span>${scope} <span class="hint">${t(`scope.${scope}`)}</span></span></label>`,
    )}</fieldset>
    <div class="columns">
      ${LIMITS.map((name) => html`<${Field} key=${name} label=${t(`limitOf.${name}`)}>${input(name, { type: "number", min: 0 })}<//>`)}
      <${Field} label=${t("key.expires")}>${input("expires", { type: "date" })}<//>
      <${Field} label=${t("key.owner")} hint=${t("key.ownerHint")}>${input("owner", { maxlength: 100 })}<//>
    </div>
  <//>`;
}

/** The key itself, this once. */
function SecretDialog({ made, close }) {
  const [copied, setCopied] = useState(false);
  const copy = () =>
    attempt(async () => {
      await copyText(made.key);
      setCopied(true);
    });
  return html`<${Dialog} title=${made.name} close=${close} onSubmit=${() => close()} actions=${html`
    <${Button} onClick=${copy}><${Icon} name=${copied ? "check" : "copy"} />${copied ? t("code.copied") : t("code.copy")}<//><button class="button primary">${t("close")}</button>`}>
    <p>${t("key.once")}</p><code class="secret" tabindex="0">${made.key}</code>
  <//>`;
}
