// Search as one types. Where the server has no search, names of conversations are searched.

import { get } from "../app/api.js";
import { address, go, route } from "../app/address.js";
import { html, useEffect, useState } from "../app/html.js";
import { shortTime } from "../app/format.js";
import { Icon } from "../app/icons.js";
import { t } from "../app/strings.js";
import { attempt } from "../app/toast.js";
import { Button, Loading, Notice } from "../app/ui.js";
import { choose, conversations, filter } from "./conversations.js";

const AFTER_MILLISECONDS = 200;
const ICONS = { message: "chat", conversation: "chat", document: "file", project: "folder" };

export function SearchResults({ text, clear }) {
  const [found, setFound] = useState(null);
  const [failure, setFailure] = useState(null);
  const project = filter.value.project;
  useEffect(() => {
    const abort = new AbortController();
    const timer = setTimeout(() => {
      search(text, project, abort.signal).then(
        (answer) => {
          setFailure(null);
          setFound(answer);
        },
        (error) => error.name !== "AbortError" && setFailure(error),
      );
    }, AFTER_MILLISECONDS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [text, project]);
  const more = () =>
    attempt(async () => {
      const next = await search(text, project, undefined, found.next);
      // Who has typed on meanwhile wants to see something else.
      setFound((now) => (now === found ? { ...next, results: [...found.results, ...next.results] } : now));
    });
  if (failure) return html`<${Notice} kind="error">${failure.message}<//>`;
  if (!found) return html`<${Loading} />`;
  return html`<div class="conversations" aria-live="polite">
    <p class="hint">${t("search.count", { count: found.results.length })}${found.results.length && found.next ? "+" : ""}</p>
    <ul>${found.results.map((result, at) => html`<${Result} key=${at} result=${result} clear=${clear} />`)}</ul>
    ${found.next && html`<${Button} onClick=${more}>${found.complete === false ? t("search.goOn") : t("more")}<//>`}
  </div>`;
}

async function search(text, project, abort, before) {
  try {
    return await get("v1/search", { q: text, project_id: project, limit: 30, before }, { signal: abort });
  } catch (error) {
    if (error.status !== 404) throw error;
  }
  const wanted = text.toLowerCase();
  const results = (conversations.value ?? [])
    .filter((each) => each.name.toLowerCase().includes(wanted))
    .map((each) => ({ type: "conversation", conversation_id: each.id, conversation_name: each.name, created_at: each.updated_at }));
  return { results, next: null };
}

function Result({ result, clear }) {
  const title = result.conversation_name || result.filename || result.project_name || result.name || t("conversation.unnamed");
  const about = [result.project_name, result.role && t(`role.${result.role}`), shortTime(result.created_at)].filter(Boolean).join(" · ");
  const isDocument = result.type === "document";
  const target = isDocument ? address("plans", String(result.document_id)) : address("chat", result.conversation_id ?? "");
  const follow = (event) => {
    if (isDocument) return;
    event.preventDefault();
    if (result.conversation_id) goToMessage(result.conversation_id, result.message_id);
    else {
      choose({ project: result.project_id, archived: false });
      clear();
    }
  };
  return html`<li>
    <a href=${target} onClick=${follow}>
      <span class="entry-name"><${Icon} name=${ICONS[result.type] ?? "chat"} />${title}</span>
      ${result.snippet && html`<span class="snippet" dir="auto">${marked(result.snippet, result.highlights ?? [])}</span>`}
      <span class="entry-about">${about}</span>
    </a>
  </li>`;
}

/** Highlights are offsets in code points; JavaScript counts UTF-16 units. */
function marked(snippet, highlights) {
  const points = Array.from(snippet);
  const parts = [];
  let at = 0;
  for (const [from, to] of highlights) {
    if (from < at) continue;
    parts.push(points.slice(at, from).join(""), html`<mark>${points.slice(from, to).join("")}</mark>`);
    at = to;
  }
  parts.push(points.slice(at).join(""));
  return parts;
}

/** Go to where somebody was sent by a result of the search. */
function goToMessage(conversationId, messageId) {
  const target = address("chat", conversationId) + (messageId ? `?message=${messageId}` : "");
  if (location.hash === target) route.value = { ...route.value };
  else go(target);
}
