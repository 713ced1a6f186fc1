// What a message has besides its text: pictures, files, tool calls, attached source.

import { apiUrl } from "../app/address.js";
import { html, useLayoutEffect, useRef } from "../app/html.js";
import { count } from "../app/format.js";
import { Icon } from "../app/icons.js";
import { t } from "../app/strings.js";
import { decoratePictures } from "../markdown/pictures.js";

const OWN_PICTURE = /^data:image\/(?:png|jpe?g|gif|webp);/i;

export function Extras({ message }) {
  const payload = message.payload;
  const calls = payload?.tool_calls ?? [];
  const parts = Array.isArray(payload?.content) ? payload.content : [];
  // A reply's text shows its pictures where they belong.
  const shown = message.role === "assistant" && message.content.includes("/parts/");
  const pictures = shown ? [] : [...parts, ...(message.parts ?? []), ...(payload?.images ?? [])].filter(
    (part) => part?.type === "image_url" || part?.image_url,
  );
  const files = parts.filter((part) => part?.type === "file" || part?.type === "input_audio");
  const source = message.attached_source;
  return html`
    ${pictures.map((part, at) => html`<${Picture} key=${at} part=${part} />`)}
    ${files.map((part, at) => html`<p key=${`f${at}`} class="chip"><${Icon} name="file" />${part.file?.filename ?? part.type}</p>`)}
    ${(Array.isArray(calls) ? calls : []).map((call, at) => html`<${ToolCall} key=${`c${at}`} call=${call} />`)}
    ${source &&
    html`<p class="chip" title=${source.sha256 ?? ""}><${Icon} name="source" />
      ${t("message.source", { files: count(source.files?.length ?? source.files), tokens: count(source.total_tokens ?? source.tokens) })}
    </p>`}
  `;
}

function Picture({ part }) {
  const box = useRef(null);
  const address = typeof part.image_url === "string" ? part.image_url : (part.image_url?.url ?? "");
  const own = OWN_PICTURE.test(address) || /^\/?v1\/chat\/messages\//.test(address);
  useLayoutEffect(() => {
    if (own) decoratePictures(box.current);
  }, [address]);
  if (own) {
    const from = address.startsWith("data:") ? address : apiUrl(address.replace(/^\//, ""));
    return html`<span class="picture" ref=${box}><img src=${from} alt=${t("picture")} loading="lazy" /></span>`;
  }
  if (!/^https?:/i.test(address)) return html`<p class="chip"><${Icon} name="picture" />${t("picture")}</p>`;
  return html`<p><a class="remote-picture" href=${address} target="_blank" rel="noopener noreferrer">
    ${t("picture.at", { name: t("picture"), host: new URL(address).host })}
  </a></p>`;
}

function ToolCall({ call }) {
  const called = call?.function ?? call?.custom ?? {};
  const sent = called.arguments ?? called.input ?? "";
  return html`<details class="fold tool-call">
    <summary><${Icon} name="tool" />${t("message.toolCall", { name: called.name ?? "?" })}</summary>
    <pre class="plain fold-body" tabindex="0">${pretty(sent)}</pre>
  </details>`;
}

function pretty(text) {
  try {
    return JSON.stringify(typeof text === "string" ? JSON.parse(text) : text, null, 2);
  } catch {
    return String(text);
  }
}
