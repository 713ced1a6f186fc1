// Who uses the console: a cookie of a log-in, a key of this tab, or anybody on this machine.

import { ApiError, credentials, failureOf, keepKey, letIn, lockedOut } from "./api.js";
import { get, post } from "./api.js";
import { apiUrl } from "./address.js";
import { computed, signal } from "./html.js";
import { t } from "./strings.js";

/** {name, owner, scopes, by} once known, else null. */
export const me = signal(null);

export const isAdmin = computed(() => me.value?.scopes.includes("admin") ?? false);

/** Find out who asks; shows the log-in where nobody is known. */
export async function begin() {
  me.value = await get("v1/auth/me");
  letIn();
}

/** Log in by name and password; a cookie carries the session. */
export async function logIn(userName, password) {
  await enter(async () => {
    keepKey("");
    return fetchOnce("v1/auth/login", { userName, password });
  });
}

/** Use a key in this tab. */
export async function useKey(key) {
  await enter(() => keepKey(key));
}

async function enter(step) {
  await step();
  const answer = await fetch(apiUrl("v1/auth/me"), { headers: credentials() });
  if (!answer.ok) {
    keepKey("");
    throw await failureOf(answer);
  }
  const found = await answer.json();
  // Another person's things must not stay on the screen.
  const other = me.value && me.value.owner !== found.owner;
  me.value = found;
  letIn();
  if (other) location.reload();
}

async function fetchOnce(path, body) {
  let answer;
  try {
    answer = await fetch(apiUrl(path), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    throw new ApiError(t("outage.notSent"));
  }
  if (!answer.ok) throw await failureOf(answer);
}

/** End the session and forget the key. */
export async function logOut() {
  try {
    await post("v1/auth/logout");
  } finally {
    keepKey("");
    lockedOut.value = null;
    location.reload();
  }
}
