// A document written by a model, from a conversation, a message of it, or a text; it is shown while
// it is written.

import { get, post, request } from "../app/api.js";
import { Dialog, open } from "../app/dialogs.js";
import { framesOf, StreamCut } from "../app/events.js";
import { html, useRef, useState } from "../app/html.js";
import { t } from "../app/strings.js";
import { attempt } from "../app/toast.js";
import { Button, Field, Loading, Notice, useLoaded } from "../app/ui.js";
import { ModelDialog } from "../chat/models.js";
import { Markdown } from "../markdown/view.js";

export function GenerateDialog({ conversationId, messageIds = [], projectId = 0, categoryId = 0, title = "", close }) {
  const [fields, setFields] = useState({ category: categoryId, filename: title ? `${title}.md` : "", model: "", conversation: conversationId ?? "", content: "" });
  const [writing, setWriting] = useState(null);
  const session = useRef(null);
  const categories = useLoaded((signal) => get("v1/plan/categories", {}, { signal }), []);
  const conversations = useLoaded((signal) => (conversationId ? Promise.resolve([]) : get("v1/chat/conversations", { status: 0, limit: 200 }, { signal })), []);
  const set = (name) => (event) => setFields({ ...fields, [name]: event.target.value });
  const category = Number(fields.category) || categories.data?.[0]?.id;

  const begin = async () => {
    setWriting({ text: "" });
    const body = {
      category_id: category,
      filename: fields.filename.trim(),
      model: fields.model || undefined,
      project_id: conversationId || fields.conversation ? undefined : projectId,
      conversation_id: fields.conversation || undefined,
      message_ids: messageIds.filter(Boolean),
      content: fields.conversation ? undefined : fields.content,
    };
    const document = await attempt(() => write(body, setWriting, session));
    if (document) close(document);
    else setWriting(null);
  };
  const stop = () => attempt(() => post("v1/chat/stop-stream", { session_id: session.current }));
  if (!categories.data) return html`<${Dialog} title=${t("plan.generate")} close=${close}><${Loading} /><//>`;
  const ready = fields.filename.trim() && (fields.conversation || fields.content.trim());
  return html`<${Dialog} title=${t("plan.generate")} close=${close} wide onSubmit=${() => ready && !writing && begin()} actions=${writing
    ? html`<${Button} disabled=${!session.current} onClick=${stop}>${t("composer.stop")}<//>`
    : html`<${Button} onClick=${() => close()}>${t("cancel")}<//><button class="button primary" disabled=${!ready}>${t("plan.begin")}</button>`}>
    ${writing
      ? html`<p class="hint" role="status">${t("plan.writing")}</p><div class="paper"><${Markdown} text=${writing.text} done=${false} /></div>`
      : html`
    <div class="columns">
      <${Field} label=${t("plan.category")}>${(id) => html`<select id=${id} value=${category} onChange=${set("category")}>
        ${categories.data.map((each) => html`<option value=${each.id} selected=${each.id === category}>${each.name}</option>`)}</select>`}<//>
      <${Field} label=${t("plan.filename")}>${(id) => html`<input id=${id} required autofocus placeholder=${t("plan.filenameHint")} value=${fields.filename} onInput=${set("filename")} />`}<//>
      <${Field} label=${t("fact.model")}>${(id) => html`<button id=${id} type="button" class="button" onClick=${async () => {
        const model = await open(ModelDialog, { chosen: fields.model, allowDefault: true });
        if (model !== undefined) setFields({ ...fields, model });
      }}>${fields.model || t("plan.categoryModel")}</button>`}<//>
    </div>
    ${conversationId
      ? html`<p class="hint">${messageIds.filter(Boolean).length ? t("plan.ofMessage") : t("plan.ofConversation")}</p>`
      : html`<${Field} label=${t("plan.from")}>${(id) => html`<select id=${id} value=${fields.conversation} onChange=${set("conversation")}>
            <option value="">${t("plan.fromText")}</option>
            ${(conversations.data ?? []).map((each) => html`<option value=${each.id}>${each.name || t("conversation.unnamed")}</option>`)}</select>`}<//>
          ${!fields.conversation &&
          html`<${Field} label=${t("plan.text")}>${(id) => html`<textarea id=${id} rows="8" value=${fields.content} onInput=${set("content")}></textarea>`}<//>`}`}
    ${conversations.error && html`<${Notice} kind="error">${conversations.error.message}<//>`}`}
  <//>`;
}

/** Have it written; the same key lets it be asked for again when the connection is lost. */
async function write(body, show, session) {
  const key = `console-${crypto.getRandomValues(new Uint32Array(4)).join("-")}`;
  for (;;) {
    const answer = await request("POST", "v1/plan/documents/generate", {
      body: { ...body, stream: true, accept_replace: true },
      headers: { "Idempotency-Key": key },
      patient: true,
    });
    let text = "";
    let document = null;
    let error = null;
    let frame = 0;
    try {
      for await (const part of framesOf(answer)) {
        if (part.session_id) session.current = part.session_id;
        if (part.error) error = part.error;
        if (part.document) document = part.document;
        text = part.replace ? part.content : text + (part.content ?? "");
        frame ||= requestAnimationFrame(() => {
          frame = 0;
          show({ text });
        });
      }
    } catch (failure) {
      if (failure instanceof StreamCut) continue;
      throw failure;
    }
    if (document) return document;
    throw Object.assign(new Error(error?.message ?? t("plan.nothingWritten")), { status: 502 });
  }
}
