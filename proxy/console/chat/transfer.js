// Conversations as files: out to keep, in from here or from ChatGPT.

import { ApiError, credentials, request } from "../app/api.js";
import { address, apiUrl } from "../app/address.js";
import { Dialog } from "../app/dialogs.js";
import { html, useRef, useState } from "../app/html.js";
import { bytes, count, saveAs } from "../app/format.js";
import { t } from "../app/strings.js";
import { Notice } from "../app/ui.js";

const EXTENSIONS = { markdown: "md", json: "json", openai: "openai.json" };

/** Save a conversation as a file. */
export async function exportConversation(about, format) {
  const answer = await request("GET", `v1/chat/conversations/${about.id}/export`, { query: { format } });
  const named = /filename\*=UTF-8''([^;]+)/.exec(answer.headers.get("Content-Disposition") ?? "")?.[1];
  const name = named ? decodeURIComponent(named) : `${about.name || "conversation"}.${EXTENSIONS[format]}`;
  saveAs(name, await answer.blob());
}

export function ImportDialog({ close }) {
  const [progress, setProgress] = useState(null);
  const [result, setResult] = useState(null);
  const [failure, setFailure] = useState("");
  const running = useRef(null);
  const begin = async (file) => {
    setFailure("");
    setResult(null);
    try {
      setResult(await upload(file, setProgress, running));
    } catch (error) {
      setFailure(error.message);
    }
    setProgress(null);
  };
  const end = () => {
    running.current?.abort();
    close(result);
  };
  return html`<${Dialog} title=${t("import.title")} close=${end} onSubmit=${end} actions=${html`<button class="button">${t("close")}</button>`}>
    <p class="hint">${t("import.hint")}</p>
    <input type="file" accept=".json,application/json" aria-label=${t("import.file")} disabled=${Boolean(progress)}
      onChange=${(event) => event.target.files[0] && begin(event.target.files[0])} />
    ${progress &&
    html`<p role="status">${progress.sent < progress.total ? t("import.sending", { sent: bytes(progress.sent), total: bytes(progress.total) }) : t("import.storing")}</p>
    <progress max=${progress.total} value=${progress.sent < progress.total ? progress.sent : undefined} aria-label=${t("import.title")}></progress>`}
    ${failure && html`<${Notice} kind="error">${failure}<//>`}
    ${result && html`<${Result} result=${result} close=${end} />`}
  <//>`;
}

function Result({ result, close }) {
  const { imported, errors } = result;
  return html`
    <p role="status"><strong>${t("import.done", { count: count(imported.length) })}</strong></p>
    <ul class="import-result">
      ${imported.slice(0, 100).map((each) => html`<li><a href=${address("chat", each.conversation_id)} onClick=${close}>${each.name || t("conversation.unnamed")}</a> <span class="hint">${t("import.messages", { count: each.messages })}</span></li>`)}
      ${errors.slice(0, 100).map((each) => html`<li class="error">${t("import.failed", { number: each.index + 1 })} ${each.message}</li>`)}
    </ul>`;
}

/** Send a file with its progress, which only XMLHttpRequest tells. */
function upload(file, onProgress, running) {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    running.current = sending;
    sending.open("POST", apiUrl("v1/chat/conversations/import"));
    for (const [name, value] of Object.entries(credentials())) sending.setRequestHeader(name, value);
    sending.setRequestHeader("Content-Type", "application/json");
    sending.responseType = "json";
    sending.upload.onprogress = (event) => onProgress({ sent: event.loaded, total: event.total });
    sending.onload = () => {
      if (sending.status === 200 && sending.response) resolve(sending.response);
      else reject(new ApiError(sending.response?.detail ?? t("error.status", { status: sending.status }), { status: sending.status }));
    };
    sending.onerror = () => reject(new ApiError(t("outage.notSent")));
    onProgress({ sent: 0, total: file.size });
    sending.send(file);
  });
}
