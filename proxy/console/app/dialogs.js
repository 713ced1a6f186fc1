// Dialogs: the browser's own <dialog>, which keeps the focus inside and closes with Escape.

import { html, signal, useEffect, useRef, useState } from "./html.js";
import { t } from "./strings.js";
import { Button, Field, IconButton } from "./ui.js";

const opened = signal([]);
let last = 0;

/** Open a component as a dialog; it gets `close`. The promise has what it closes with. */
export function open(component, properties = {}) {
  return new Promise((resolve) => {
    const id = ++last;
    const close = (value) => {
      opened.value = opened.value.filter((each) => each.id !== id);
      resolve(value);
    };
    opened.value = [...opened.value, { id, component, properties, close }];
  });
}

/** Where open dialogs are shown. */
export function Dialogs() {
  return opened.value.map(
    ({ id, component, properties, close }) =>
      html`<${component} key=${id} ...${properties} close=${close} />`,
  );
}

/** The frame of a dialog: a heading, a body, actions. */
export function Dialog({ title, close, children, actions, wide = false, onSubmit }) {
  const element = useRef(null);
  useEffect(() => {
    const before = document.activeElement;
    element.current.showModal();
    return () => before?.isConnected && before.focus();
  }, []);
  const submit = (event) => {
    event.preventDefault();
    onSubmit?.();
  };
  return html`<dialog ref=${element} class=${wide ? "wide" : ""} aria-label=${title} onCancel=${(event) => {
    event.preventDefault();
    close();
  }} onClick=${(event) => event.target === element.current && close()}>
    <form class="dialog" onSubmit=${submit}>
      <header><h2>${title}</h2><${IconButton} icon="close" label=${t("close")} onClick=${() => close()} /></header>
      <div class="dialog-body">${children}</div>
      ${actions && html`<footer>${actions}</footer>`}
    </form>
  </dialog>`;
}

function Confirm({ title, text, action, danger, close }) {
  return html`<${Dialog} title=${title} close=${close} onSubmit=${() => close(true)} actions=${html`
    <${Button} onClick=${() => close(false)}>${t("cancel")}<//>
    <button class=${`button ${danger ? "danger" : "primary"}`} autofocus>${action}</button>`}>
    <p>${text}</p>
  <//>`;
}

/** Ask before something that cannot be undone. */
export const confirm = (title, text, action, { danger = true } = {}) =>
  open(Confirm, { title, text, action, danger });

function Ask({ title, label, value, action, multiline, hint, close }) {
  const [text, setText] = useState(value ?? "");
  const control = (id, described) =>
    multiline
      ? html`<textarea id=${id} rows="12" aria-describedby=${described} autofocus value=${text} onInput=${(event) => setText(event.target.value)} />`
      : html`<input id=${id} aria-describedby=${described} autofocus value=${text} onInput=${(event) => setText(event.target.value)} />`;
  return html`<${Dialog} title=${title} close=${close} wide=${multiline} onSubmit=${() => close(text)} actions=${html`
    <${Button} onClick=${() => close()}>${t("cancel")}<//>
    <button class="button primary">${action ?? t("save")}</button>`}>
    <${Field} label=${label} hint=${hint}>${control}<//>
  <//>`;
}

/** Ask for a text; undefined when it was called off. */
export const ask = (properties) => open(Ask, properties);
