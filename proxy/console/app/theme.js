// Light, dark, or as the system says.

import { signal } from "./html.js";

const KEY = "proxy-console-theme";
const THEMES = ["auto", "light", "dark"];

export const theme = signal(localStorage.getItem(KEY) ?? "auto");

function show() {
  document.documentElement.dataset.theme = theme.value;
}

/** Go on to the next of the three. */
export function nextTheme() {
  theme.value = THEMES[(THEMES.indexOf(theme.value) + 1) % THEMES.length];
  localStorage.setItem(KEY, theme.value);
  show();
}

show();
