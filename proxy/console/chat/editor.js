// Editing a message in its place: save it, or save it and let the model answer again.

import { put } from "../app/api.js";
import { html, useEffect, useRef, useState } from "../app/html.js";
import { t } from "../app/strings.js";
import { attempt } from "../app/toast.js";
import { Button } from "../app/ui.js";
import { actionsOf } from "./actions.js";

export function Editor({ message, history, close }) {
  const [text, setText] = useState(message.content);
  const [busy, setBusy] = useState(false);
  const area = useRef(null);
  useEffect(() => {
    area.current.focus();
    area.current.style.height = `${Math.min(480, area.current.scrollHeight + 4)}px`;
  }, []);
  const save = async (again) => {
    setBusy(true);
    await attempt(async () => {
      if (text !== message.content) {
        await put(`v1/chat/messages/${message.id}`, { content: text });
        await history.refresh();
        actionsOf(history).changed();
      }
      close();
      if (again) await actionsOf(history).answerAgain(message);
    });
    setBusy(false);
  };
  const onKeyDown = (event) => {
    if (event.key === "Escape") close();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save(message.role === "user");
  };
  return html`<div class="editor">
    <textarea ref=${area} aria-label=${t("action.edit")} value=${text} onInput=${(event) => setText(event.target.value)} onKeyDown=${onKeyDown} />
    <div class="row end">
      <${Button} onClick=${close}>${t("cancel")}<//>
      <${Button} busy=${busy} disabled=${!text.trim()} onClick=${() => save(false)} kind=${message.role === "user" ? "" : "primary"}>${t("save")}<//>
      ${message.role === "user" &&
      html`<${Button} busy=${busy} disabled=${!text.trim()} kind="primary" onClick=${() => save(true)}>${t("edit.again")}<//>`}
    </div>
  </div>`;
}
