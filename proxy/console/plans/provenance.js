// Where a document came from, and which of its messages changed since.

import { address } from "../app/address.js";
import { get } from "../app/api.js";
import { html, useState } from "../app/html.js";
import { count } from "../app/format.js";
import { t } from "../app/strings.js";
import { attempt } from "../app/toast.js";
import { Button, Notice } from "../app/ui.js";

const AT_ONCE = 8;

export function Provenance({ document }) {
  const [changes, setChanges] = useState(null);
  const from = document.provenance;
  if (!from) return null;
  const link = from.conversation_id && address("chat", from.conversation_id);
  const look = () => attempt(async () => setChanges(await changedSince(from)));
  return html`
    <p class="hint">
      ${from.model && t("plan.by", { model: from.model })}
      ${link && html` <a href=${link}>${t("plan.fromConversation", { count: count(from.message_ids?.length ?? 0) })}</a>`}
      ${from.status && from.status !== "complete" && html` <strong class="error">${t("plan.ended", { status: t(`statusOf.${from.status}`) })}</strong>`}
      ${from.omits_older_messages && ` ${t("plan.omits")}`}
    </p>
    ${document.stale &&
    html`<${Notice} kind="warning">
      ${t("plan.staleText")} ${!changes && html`<${Button} kind="small" onClick=${look}>${t("plan.staleWhich")}<//>`}
      ${changes && html`<ul>${changes.map(({ id, gone, text }) => html`<li key=${id}>
        ${gone ? t("plan.messageGone", { id }) : html`<a href=${`${link}?message=${id}`}>${t("plan.messageChanged", { id })}</a> ${text}`}
      </li>`)}</ul>`}
    <//>`}`;
}

async function changedSince({ message_ids: ids, message_revisions: revisions }) {
  const changes = [];
  const waiting = ids.map((id, at) => ({ id, revision: revisions[at] }));
  const look = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      try {
        const message = await get(`v1/chat/messages/${next.id}`);
        if (message.revision !== next.revision) changes.push({ id: next.id, text: message.content.slice(0, 80) });
      } catch (error) {
        if (error.status !== 404) throw error;
        changes.push({ id: next.id, gone: true });
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, look));
  return changes.sort((one, other) => one.id - other.id);
}
