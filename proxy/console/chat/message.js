// One message: what was said, how it ended, what can be done with it.

import { html, useState } from "../app/html.js";
import { count, duration, fullTime, shortTime } from "../app/format.js";
import { Icon } from "../app/icons.js";
import { t } from "../app/strings.js";
import { IconButton, Menu } from "../app/ui.js";
import { Markdown } from "../markdown/view.js";
import { actionsOf } from "./actions.js";
import { Editor } from "./editor.js";
import { Extras } from "./extras.js";

const FOLDED_LINES = 24;

export function Message({ id, history }) {
  const cell = history.at(id);
  const [editing, setEditing] = useState(false);
  if (!cell) return null;
  const message = cell.value;
  const live = history.live.get(id);
  if (message.role === "system") return html`<${System} message=${message} />`;
  if (message.role === "tool") return html`<${ToolResult} message=${message} />`;
  const mine = message.role === "user";
  const label = t(mine ? "message.mine" : "message.theirs", { time: fullTime(message.created_at) });
  return html`<article class=${`message ${mine ? "mine" : "theirs"}`} data-id=${id} aria-label=${label} aria-busy=${Boolean(live)}>
    ${!mine && html`<${Head} message=${message} />`}
    ${editing
      ? html`<${Editor} message=${message} history=${history} close=${() => setEditing(false)} />`
      : mine
        ? html`<${Mine} message=${message} />`
        : html`<${Theirs} message=${message} live=${live} history=${history} />`}
    ${!live && !editing && html`<${Actions} message=${message} history=${history} edit=${() => setEditing(true)} />`}
  </article>`;
}

function Head({ message }) {
  return html`<header class="message-head">
    <span class="model">${message.model ?? t("message.assistant")}</span>
    <time datetime=${message.created_at} title=${fullTime(message.created_at)}>${shortTime(message.created_at)}</time>
  </header>`;
}

function Mine({ message }) {
  const [whole, setWhole] = useState(false);
  const lines = message.content.split("\n");
  const long = lines.length > FOLDED_LINES || message.content.length > 4000;
  const shown = long && !whole ? lines.slice(0, FOLDED_LINES).join("\n").slice(0, 4000) : message.content;
  return html`<div class="bubble">
    <div class="plain" dir="auto">${shown}</div>
    ${long &&
    html`<button type="button" class="button link" aria-expanded=${whole} onClick=${() => setWhole(!whole)}>
      ${whole ? t("message.less") : t("message.all", { lines: count(lines.length) })}
    </button>`}
    <${Extras} message=${message} />
  </div>`;
}

function Theirs({ message, live, history }) {
  // Reading the tick is what brings the component here again once a frame.
  live?.tick.value;
  const text = live ? live.text : message.content;
  const reasoning = live ? live.reasoning : message.reasoning;
  return html`<div class="reply">
    ${reasoning && html`<${Reasoning} text=${reasoning} running=${live && !live.text} />`}
    <${Markdown} text=${text} done=${!live} took=${live && ((milliseconds) => live.shown(milliseconds))} />
    ${live && !text && !reasoning && html`<p class="thinking" role="status">${t("message.waiting")}</p>`}
    <${Extras} message=${message} />
    ${!live && html`<${Ending} message=${message} history=${history} />`}
  </div>`;
}

function Reasoning({ text, running }) {
  const [open, setOpen] = useState(false);
  return html`<details class="fold" open=${open} onToggle=${(event) => setOpen(event.target.open)}>
    <summary><${Icon} name="thought" />${running ? t("message.reasoningNow") : t("message.reasoning")}</summary>
    ${open && html`<div class="plain fold-body">${text}</div>`}
  </details>`;
}

function System({ message }) {
  return html`<article class="message system" data-id=${message.id} aria-label=${t("conversation.prompt")}>
    <details class="fold">
      <summary><${Icon} name="settings" />${t("conversation.prompt")}</summary>
      <div class="plain fold-body" dir="auto">${message.content}</div>
    </details>
  </article>`;
}

function ToolResult({ message }) {
  const name = message.payload?.name ?? message.payload?.tool_call_id ?? "";
  return html`<article class="message tool" data-id=${message.id} aria-label=${t("message.toolResult", { name })}>
    <details class="fold">
      <summary><${Icon} name="tool" />${t("message.toolResult", { name })}</summary>
      <pre class="plain fold-body" tabindex="0">${message.content}</pre>
    </details>
  </article>`;
}

/** Say how a reply ended when it was not in the ordinary way; nothing is glossed over. */
function Ending({ message, history }) {
  const notes = [];
  const { status, finish_reason: reason, error, omitted_messages: omitted } = message;
  if (status === "stopped") notes.push(["info", t("ending.stopped")]);
  else if (status === "truncated") notes.push(["warning", t("ending.truncated")]);
  else if (status === "interrupted") notes.push(["warning", error?.message ?? t("ending.interrupted")]);
  else if (status === "failed") notes.push(["error", t("ending.failed", { reason: error?.message ?? "" })]);
  else if (status === "streaming") notes.push(["info", t("ending.elsewhere")]);
  else if (reason === "length") notes.push(["warning", t("ending.length")]);
  else if (reason === "content_filter") notes.push(["warning", t("ending.filter")]);
  if (omitted) notes.push(["info", t("ending.omitted", { count: count(omitted) })]);
  const actions = actionsOf(history);
  const mayGoOn = ["stopped", "truncated", "interrupted"].includes(status) || reason === "length";
  return html`${notes.map(
    ([kind, text]) => html`<p class=${`ending ${kind}`}><${Icon} name=${kind === "info" ? "stop" : "warning"} />${text}</p>`,
  )}
  ${mayGoOn && message.id === history.ids.value.at(-1) && message.content &&
  html`<button type="button" class="button small" onClick=${() => actions.goOn()}>${t("ending.goOn")}</button>`}
  ${status === "failed" &&
  html`<button type="button" class="button small" onClick=${() => actions.regenerate(message)}>${t("ending.again")}</button>`}`;
}

function Actions({ message, history, edit }) {
  const actions = actionsOf(history);
  const mine = message.role === "user";
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await actions.copy(message);
    setCopied(true);
    setTimeout(() => setCopied(false), 2000);
  };
  const items = [
    { label: t("action.fork"), icon: "fork", run: () => actions.fork(message) },
    { label: t("action.details"), icon: "usage", run: () => actions.details(message) },
    null,
    { label: t("action.deleteFrom"), icon: "trash", danger: true, run: () => actions.deleteFrom(message) },
    { label: t("action.delete"), icon: "trash", danger: true, run: () => actions.remove([message]) },
  ];
  if (!mine) {
    items.unshift(
      { label: t("action.regenerateWith"), icon: "again", run: () => actions.regenerateWith(message) },
      { label: t("action.plan"), icon: "plans", run: () => actions.plan(message) },
    );
  }
  return html`<footer class="message-actions">
    <${IconButton} icon=${copied ? "check" : "copy"} label=${copied ? t("code.copied") : t("action.copy")} onClick=${copy} />
    <${IconButton} icon="edit" label=${t("action.edit")} onClick=${edit} />
    ${!mine && html`<${IconButton} icon="again" label=${t("action.regenerate")} onClick=${() => actions.regenerate(message)} />`}
    ${message.revision > 0 &&
    html`<button type="button" class="button link small" onClick=${() => actions.revisions(message)}>
      <${Icon} name="history" />${t("action.revisions", { count: message.revision })}
    </button>`}
    <${Menu} label=${t("action.more")} items=${items} />
    <${Cost} message=${message} />
  </footer>`;
}

function Cost({ message }) {
  if (message.role !== "assistant" || !message.usage) return null;
  const { prompt_tokens: asked, completion_tokens: answered } = message.usage;
  const text = t("message.cost", { asked: count(asked), answered: count(answered), time: duration(message.duration_ms) });
  return html`<span class="cost">${text}</span>`;
}
