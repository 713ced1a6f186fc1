// The frame around the screens: where to go, and what holds for all of them.

import { lockedOut, outage } from "./api.js";
import { address, route } from "./address.js";
import { Dialogs } from "./dialogs.js";
import { html, useEffect, useState } from "./html.js";
import { Icon } from "./icons.js";
import { LogIn } from "./login.js";
import { isAdmin, logOut, me } from "./session.js";
import { t } from "./strings.js";
import { nextTheme, theme } from "./theme.js";
import { say, Toasts } from "./toast.js";
import { IconButton, Loading, Notice } from "./ui.js";

const SCREENS = {
  chat: () => import("../chat/screen.js"),
  plans: () => import("../plans/screen.js"),
  usage: () => import("../usage/screen.js"),
  source: () => import("../source/screen.js"),
  keys: () => import("../keys/screen.js"),
  status: () => import("../status/screen.js"),
};

const ADMIN_SCREENS = ["keys", "status"];

const loaded = {};

function useScreen(name) {
  const [, setTurn] = useState(0);
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    if (loaded[name] || !SCREENS[name]) return;
    setFailed(false);
    SCREENS[name]().then(
      (module) => {
        loaded[name] = module.default;
        setTurn((turn) => turn + 1);
      },
      () => setFailed(true),
    );
  }, [name]);
  return { Screen: loaded[name], failed };
}

function Navigation({ current }) {
  const names = Object.keys(SCREENS).filter(
    (name) => isAdmin.value || !ADMIN_SCREENS.includes(name),
  );
  return html`<nav class="navigation" aria-label=${t("navigation")}>
    ${names.map(
      (name) => html`<a key=${name} href=${address(name)} aria-current=${name === current ? "page" : undefined}>
        <${Icon} name=${name} /><span>${t(`screen.${name}`)}</span>
      </a>`,
    )}
    <div class="navigation-end">
      <${IconButton} icon="theme" label=${t("theme", { theme: t(`theme.${theme.value}`) })} onClick=${() => {
        nextTheme();
        say(t("theme", { theme: t(`theme.${theme.value}`) }));
      }} />
      ${me.value.by !== "open" &&
      html`<${IconButton} icon="leave" label=${t("logout", { name: me.value.name })} onClick=${logOut} />`}
    </div>
  </nav>`;
}

export function Shell() {
  const { screen } = route.value;
  const name = SCREENS[screen] ? screen : "chat";
  const { Screen, failed } = useScreen(name);
  useEffect(() => {
    document.title = `${t(`screen.${name}`)} · ${t("console")}`;
  }, [name]);
  return html`
    <a class="skip" href="#main" onClick=${(event) => {
      event.preventDefault();
      document.querySelector("main")?.focus();
    }}>${t("skip")}</a>
    ${outage.value && html`<div class="outage" role="alert"><${Icon} name="warning" />${outage.value} ${t("outage.trying")}</div>`}
    <div class="shell">
      ${me.value && html`<${Navigation} current=${name} />`}
      ${failed
        ? html`<main tabindex="-1"><${Notice} kind="error">${t("error.screen")}<//></main>`
        : me.value && Screen
          ? html`<${Screen} key=${name} />`
          : html`<main tabindex="-1"><${Loading} /></main>`}
    </div>
    <${Dialogs} />
    ${lockedOut.value && html`<${LogIn} />`}
    <${Toasts} />
  `;
}
