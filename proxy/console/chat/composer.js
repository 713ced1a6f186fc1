// Where a message is written. What was typed is kept until it is stored.

import { html, useEffect, useRef, useState } from "../app/html.js";
import { count } from "../app/format.js";
import { Icon } from "../app/icons.js";
import { t } from "../app/strings.js";
import { attempt } from "../app/toast.js";
import { open } from "../app/dialogs.js";
import { post } from "../app/api.js";
import { IconButton, isInUse } from "../app/ui.js";

const ESTIMATE_AFTER_MILLISECONDS = 600;
const NOTHING = { documents: [], source: null, prompt: "" };
const draftKey = (id) => `proxy-console-draft ${id}`;

/** `send(body)` is true once the message is stored; `busy` shows the button that stops. */
export function Composer({ conversationId, projectId, model, busy, send, stop }) {
  const [text, setText] = useState(() => sessionStorage.getItem(draftKey(conversationId)) ?? "");
  const [attached, setAttached] = useState(NOTHING);
  const area = useRef(null);
  const estimate = useEstimate(conversationId, text, attached, model);
  const hasMore = attached.documents.length > 0 || attached.source || attached.prompt;

  useEffect(() => {
    // On a narrow page the keyboard would cover what one came to read. Who began to type while the
    // conversation was loading goes on there.
    const isWide = matchMedia("(min-width: 861px)").matches;
    if (isWide && !isInUse(document.activeElement)) area.current.focus({ preventScroll: true });
  }, []);

  useEffect(() => {
    area.current.style.height = "auto";
    area.current.style.height = `${Math.min(320, area.current.scrollHeight + 2)}px`;
    if (text) sessionStorage.setItem(draftKey(conversationId), text);
    else sessionStorage.removeItem(draftKey(conversationId));
  }, [text]);

  const submit = async () => {
    const content = text.trim();
    if (!content || busy) return;
    setText("");
    const sent = await send(bodyOf(content, attached));
    if (!sent) setText((now) => now || text);
    else setAttached(NOTHING);
  };
  const onKeyDown = (event) => {
    // While an input method composes, Enter chooses a character.
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229) {
      event.preventDefault();
      submit();
    } else if (event.key === "Escape" && busy) stop();
  };
  const attach = () =>
    attempt(async () => {
      const { AttachDialog } = await import("./attach.js");
      const chosen = await open(AttachDialog, { attached, projectId });
      if (chosen) setAttached(chosen);
      area.current?.focus();
    });

  return html`<form class="composer" onSubmit=${(event) => {
    event.preventDefault();
    submit();
  }}>
    ${hasMore && html`<${Attached} attached=${attached} change=${setAttached} />`}
    <div class="composer-row">
      <${IconButton} icon="attach" label=${t("attach.title")} onClick=${attach} />
      <textarea ref=${area} rows="1" aria-label=${t("composer.label")} placeholder=${t("composer.placeholder")} value=${text}
        onInput=${(event) => setText(event.target.value)} onKeyDown=${onKeyDown} dir="auto" />
      ${busy
        ? html`<button type="button" class="send stop" title=${t("composer.stop")} aria-label=${t("composer.stop")} onClick=${stop}><${Icon} name="stop" /></button>`
        : html`<button class="send" title=${t("composer.send")} aria-label=${t("composer.send")} disabled=${!text.trim()}><${Icon} name="send" /></button>`}
    </div>
    <${Estimate} estimate=${estimate} />
  </form>`;
}

export function bodyOf(content, { documents, source, prompt }) {
  const body = { content };
  if (documents.length) body.documents = documents.map((document) => document.id);
  if (prompt) body.system_prompt_append = prompt;
  if (source) {
    const { include, exclude, max_tokens: tokens, since } = source;
    body.attach = { source_code: { include, exclude, max_tokens: tokens ?? undefined, since: since ? "last" : undefined } };
  }
  return body;
}

function Attached({ attached, change }) {
  const without = (id) => ({ ...attached, documents: attached.documents.filter((each) => each.id !== id) });
  const chip = (key, icon, label, next) => html`<span class="chip" key=${key}>
    <${Icon} name=${icon} />${label}
    <${IconButton} icon="close" label=${t("attach.remove", { name: label })} onClick=${() => change(next)} />
  </span>`;
  return html`<div class="chips">
    ${attached.documents.map((each) => chip(each.id, "file", each.filename, without(each.id)))}
    ${attached.source && chip("source", "source", t("attach.source"), { ...attached, source: null })}
    ${attached.prompt && chip("prompt", "settings", t("attach.prompt"), { ...attached, prompt: "" })}
  </div>`;
}

/** Ask what the call would bring to the model, a moment after the last change. */
function useEstimate(conversationId, text, attached, model) {
  const [estimate, setEstimate] = useState(null);
  useEffect(() => {
    if (!conversationId || (!text.trim() && !attached.documents.length && !attached.source)) {
      setEstimate(null);
      return undefined;
    }
    const abort = new AbortController();
    const timer = setTimeout(async () => {
      try {
        const body = bodyOf(text.trim() || "…", attached);
        const path = `v1/chat/conversations/${conversationId}/input-tokens`;
        setEstimate(await post(path, body, { signal: abort.signal }));
      } catch (error) {
        if (error.name !== "AbortError") setEstimate(error.status === 404 ? null : { error: error.message });
      }
    }, ESTIMATE_AFTER_MILLISECONDS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [conversationId, text, attached, model]);
  return estimate;
}

function Estimate({ estimate }) {
  if (!estimate) return html`<p class="estimate">${t("composer.hint")}</p>`;
  if (estimate.error) return html`<p class="estimate error" role="alert">${estimate.error}</p>`;
  const share = Math.min(1, estimate.input_tokens / estimate.context_tokens);
  const parts = Object.entries(estimate.tokens)
    .filter(([, tokens]) => tokens)
    .map(([part, tokens]) => `${t(`tokens.${part}`)} ${count(tokens)}`);
  return html`<p class=${`estimate ${share > 0.8 ? "much" : ""}`}>
    <meter min="0" max="1" high="0.8" value=${share} aria-hidden="true"></meter>
    ${t("composer.tokens", { tokens: count(estimate.input_tokens), window: count(estimate.context_tokens) })}
    ${parts.length > 1 && ` (${parts.join(", ")})`}
    ${estimate.omitted_messages > 0 && ` · ${t("ending.omitted", { count: estimate.omitted_messages })}`}
  </p>`;
}
