// Everything that is known of a message, for whoever wants to know it exactly.

import { Dialog } from "../app/dialogs.js";
import { html } from "../app/html.js";
import { count, duration, fullTime } from "../app/format.js";
import { t } from "../app/strings.js";

export function DetailsDialog({ message, close }) {
  const usage = message.usage ?? {};
  const rows = [
    ["id", message.id],
    ["status", t(`statusOf.${message.status}`)],
    ["finish", message.finish_reason],
    ["model", message.model],
    ["provider", message.provider],
    ["created", fullTime(message.created_at)],
    ["updated", fullTime(message.updated_at)],
    ["firstToken", message.first_token_ms && duration(message.first_token_ms)],
    ["duration", message.duration_ms && duration(message.duration_ms)],
    ["tokensIn", usage.prompt_tokens && count(usage.prompt_tokens)],
    ["tokensOut", usage.completion_tokens && count(usage.completion_tokens)],
    ["counted", usage.source],
    ["error", message.error?.message],
  ];
  return html`<${Dialog} title=${t("action.details")} close=${close}>
    <dl class="facts">
      ${rows
        .filter(([, value]) => value !== null && value !== undefined && value !== "")
        .map(([name, value]) => html`<dt>${t(`fact.${name}`)}</dt><dd>${value}</dd>`)}
    </dl>
  <//>`;
}
