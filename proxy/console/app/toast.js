// Short sentences about what has just happened, for eyes and for screen readers.

import { html, signal } from "./html.js";
import { t } from "./strings.js";
import { IconButton } from "./ui.js";

const SECONDS = 8;
const toasts = signal([]);
let last = 0;

/** Show a sentence; a failure stays until it is closed. */
export function say(text, kind = "") {
  const id = ++last;
  toasts.value = [...toasts.value.slice(-3), { id, text, kind }];
  if (kind !== "error") setTimeout(() => close(id), SECONDS * 1000);
}

const close = (id) => {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
};

/** Run `work`; its failure becomes a sentence, and undefined is returned. */
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") say(error.message, "error");
    if (error.status === undefined && error.name !== "AbortError") console.error(error);
    return undefined;
  }
}

export function Toasts() {
  return html`<div class="toasts" role="status" aria-live="polite">
    ${toasts.value.map(
      (toast) =>
        html`<div key=${toast.id} class=${`toast ${toast.kind}`}>
          <span>${toast.text}</span>
          <${IconButton} icon="close" label=${t("close")} onClick=${() => close(toast.id)} />
        </div>`,
    )}
  </div>`;
}
