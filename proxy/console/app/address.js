// Addresses: of the API, relative to this file so that a path prefix does not matter, and of the
// console's screens, which stand behind the "#".

import { signal } from "./html.js";

const ROOT = new URL("../../../", import.meta.url);

/** Return the absolute address of an API path such as "v1/models". */
export function apiUrl(path, query = {}) {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== undefined && each !== null && each !== "") url.searchParams.append(name, each);
    }
  }
  return url.href;
}

/** Return the address of a screen: address("chat", id) is "#/chat/<id>". */
export function address(...parts) {
  return "#/" + parts.map((part) => encodeURIComponent(part)).join("/");
}

/** Go to a screen; `replace` leaves no entry in the browser's history. */
export function go(target, { replace = false } = {}) {
  if (replace) location.replace(target);
  else location.hash = target;
}

function read() {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [screen = "", ...parts] = path.split("/").map(decoded);
  return { screen: screen || "chat", parts, query: new URLSearchParams(search) };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The screen that is shown: {screen, parts, query}. */
export const route = signal(read());

addEventListener("hashchange", () => {
  route.value = read();
});
