// Tabs of one browser tell each other what they changed; other browsers are noticed by asking.

import { apiUrl } from "../app/address.js";

const channel = new BroadcastChannel(`proxy-console ${apiUrl("")}`);
const listeners = new Set();

channel.addEventListener("message", ({ data }) => {
  for (const listener of listeners) listener(data);
});

/** Tell the other tabs: {conversation: id} changed, or the list did. */
export function announce(change = {}) {
  channel.postMessage(change);
}

/** Hear of changes in other tabs; returns what ends that. */
export function heed(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Call `work` when the tab is looked at again, and every so often while it is. */
export function whileWatched(work, seconds) {
  const timer = setInterval(() => document.hidden || work(), seconds * 1000);
  const shown = () => document.hidden || work();
  document.addEventListener("visibilitychange", shown);
  return () => {
    clearInterval(timer);
    document.removeEventListener("visibilitychange", shown);
  };
}
