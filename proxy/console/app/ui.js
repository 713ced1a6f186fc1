// The few controls that every screen uses.

import { html, useEffect, useId, useLayoutEffect, useRef, useState } from "./html.js";
import { Icon } from "./icons.js";
import { t } from "./strings.js";

/** A button with an icon alone; `label` is its name and its tooltip. */
export function IconButton({ icon, label, class: extra = "", ...rest }) {
  return html`<button type="button" class=${`icon-button ${extra}`} title=${label} aria-label=${label} ...${rest}>
    <${Icon} name=${icon} />
  </button>`;
}

/** A button that waits for its own work and says what went wrong through `onError`. */
export function Button({ onClick, busy = false, kind = "", children, ...rest }) {
  return html`<button type="button" class=${`button ${kind}`} onClick=${onClick} ...${rest} aria-busy=${busy} disabled=${busy || rest.disabled}>
    ${children}
  </button>`;
}

/** A label with its control and a hint. */
export function Field({ label, hint, children }) {
  const id = useId();
  return html`<div class="field">
    <label for=${id}>${label}</label>
    ${children(id, hint ? `${id}-hint` : undefined)}
    ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
  </div>`;
}

/** Whether somebody writes or chooses here: the keyboard is theirs. */
export function isInUse(element) {
  return Boolean(element?.closest?.("input, textarea, select, dialog"));
}

/** Something is being read. */
export function Loading() {
  return html`<p class="loading" role="status"><span class="spinner" aria-hidden="true"></span>${t("loading")}</p>`;
}

/** There is nothing, or it failed: a sentence, and perhaps what to do. */
export function Notice({ kind = "", children }) {
  return html`<div class=${`notice ${kind}`} role=${kind === "error" ? "alert" : undefined}>${children}</div>`;
}

/**
 * A button that opens a menu: items are {label, icon, run, danger} or null for a line.
 *
 * Arrow keys, Home, End and Escape do what they do in menus.
 */
export function Menu({ label, icon = "more", items, class: extra = "" }) {
  const [open, setOpen] = useState(false);
  const box = useRef(null);
  useLayoutEffect(() => {
    if (!open) return undefined;
    place(box.current.querySelector("[role=menu]"), box.current.getBoundingClientRect());
    box.current.querySelector("[role=menuitem]")?.focus();
    const away = (event) => {
      if (!box.current?.contains(event.target)) setOpen(false);
    };
    addEventListener("pointerdown", away);
    addEventListener("focusin", away);
    return () => {
      removeEventListener("pointerdown", away);
      removeEventListener("focusin", away);
    };
  }, [open]);
  const close = () => {
    setOpen(false);
    box.current?.querySelector("button")?.focus();
  };
  const onKeyDown = (event) => {
    const entries = [...box.current.querySelectorAll("[role=menuitem]")];
    const at = entries.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (event.key === "Escape") {
      event.stopPropagation();
      close();
    } else if (to !== undefined && entries.length) {
      event.preventDefault();
      entries.at(to % entries.length).focus();
    }
  };
  return html`<div class=${`menu ${extra}`} ref=${box} onKeyDown=${open ? onKeyDown : undefined}>
    <${IconButton} icon=${icon} label=${label} aria-haspopup="menu" aria-expanded=${open} onClick=${() => setOpen(!open)} />
    ${open &&
    html`<div class="menu-items" role="menu" aria-label=${label}>
      ${items.map((item) =>
        item
          ? html`<button type="button" role="menuitem" tabindex="-1" class=${item.danger ? "danger" : ""} onClick=${() => {
              close();
              item.run();
            }}><${Icon} name=${item.icon} />${item.label}</button>`
          : html`<hr />`,
      )}
    </div>`}
  </div>`;
}

/** Put a menu below its button, or above it, and always inside the page. */
function place(menu, button) {
  const { offsetWidth: width, offsetHeight: height } = menu;
  const below = button.bottom + height + 8 < innerHeight;
  const top = below ? button.bottom + 4 : Math.max(8, button.top - height - 4);
  const left = button.left + width + 8 < innerWidth ? button.left : button.right - width;
  menu.style.top = `${top}px`;
  menu.style.left = `${Math.max(8, left)}px`;
}

/** Call `work` when the element comes near the visible part of its scroller. */
export function Sentinel({ onVisible, children }) {
  const element = useRef(null);
  const latest = useRef(onVisible);
  latest.current = onVisible;
  useEffect(() => {
    const observer = new IntersectionObserver(
      (entries) => entries.some((entry) => entry.isIntersecting) && latest.current(),
      { rootMargin: "200px" },
    );
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return html`<div ref=${element} class="sentinel">${children}</div>`;
}

/** Run `load` when `inputs` change; {data, error, loading, reload}. A late answer is dropped. */
export function useLoaded(load, inputs) {
  const [state, setState] = useState({ data: null, error: null, loading: true });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const abort = new AbortController();
    setState((before) => ({ ...before, loading: true, error: null }));
    load(abort.signal).then(
      (data) => abort.signal.aborted || setState({ data, error: null, loading: false }),
      (error) => abort.signal.aborted || setState({ data: null, error, loading: false }),
    );
    return () => abort.abort();
  }, [...inputs, turn]);
  return { ...state, reload: () => setTurn((number) => number + 1) };
}
