// The log-in: by name and password, or with a key. It lies over what was there, so that nothing
// that was typed is lost when a session ends.

import { lockedOut } from "./api.js";
import { html, useEffect, useRef, useState } from "./html.js";
import { logIn, useKey } from "./session.js";
import { t } from "./strings.js";
import { Field, Notice } from "./ui.js";

export function LogIn() {
  const element = useRef(null);
  const [byKey, setByKey] = useState(false);
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState("");
  const why = lockedOut.value;
  useEffect(() => {
    element.current.showModal();
  }, []);
  const submit = async (event) => {
    event.preventDefault();
    const fields = new FormData(event.target);
    setBusy(true);
    setFailure("");
    try {
      if (byKey) await useKey(fields.get("key").trim());
      else await logIn(fields.get("name"), fields.get("password"));
    } catch (error) {
      setFailure(error.message);
    }
    setBusy(false);
  };
  const input = (properties) => (id) => html`<input id=${id} required ...${properties} />`;
  return html`<dialog ref=${element} class="login" aria-label=${t("login.title")} onCancel=${(event) => event.preventDefault()}>
    <form class="dialog" onSubmit=${submit}>
      <header><h1>${t("login.title")}</h1></header>
      <div class="dialog-body">
        ${why?.expired && html`<${Notice} kind="warning">${t("login.expired")}<//>`}
        <p class="hint">${byKey ? t("login.keyHint") : t("login.hint")}</p>
        ${byKey
          ? html`<${Field} key="key" label=${t("login.key")}>${input({ name: "key", type: "password", autocomplete: "off", spellcheck: false })}<//>`
          : html`<${Field} key="name" label=${t("login.name")}>${input({ name: "name", autocomplete: "username", autofocus: true })}<//>
              <${Field} key="password" label=${t("login.password")}>${input({ name: "password", type: "password", autocomplete: "current-password" })}<//>`}
        ${failure && html`<${Notice} kind="error">${failure}<//>`}
      </div>
      <footer>
        <button type="button" class="button link" onClick=${() => setByKey(!byKey)}>${byKey ? t("login.byName") : t("login.byKey")}</button>
        <button class="button primary" disabled=${busy}>${t("login.enter")}</button>
      </footer>
    </form>
  </dialog>`;
}
