// The former texts of a message, each compared with the one that came after it.

import { put } from "../app/api.js";
import { Dialog } from "../app/dialogs.js";
import { html, useState } from "../app/html.js";
import { fullTime } from "../app/format.js";
import { t } from "../app/strings.js";
import { attempt } from "../app/toast.js";
import { Button } from "../app/ui.js";
import { Difference } from "../diff/view.js";
import { Markdown } from "../markdown/view.js";

export function RevisionsDialog({ message, close }) {
  const writings = [...message.revisions, message];
  const [at, setAt] = useState(writings.length - 1);
  const [compare, setCompare] = useState(true);
  const shown = writings[at];
  const before = writings[at - 1];
  const restore = () =>
    attempt(async () => {
      await put(`v1/chat/messages/${message.id}`, { content: shown.content });
      close(true);
    });
  const name = (writing, index) =>
    [t("revision.number", { number: index + 1 }), writing.model, fullTime(writing.updated_at ?? writing.created_at)]
      .filter(Boolean)
      .join(" · ");
  return html`<${Dialog} title=${t("revision.title")} close=${close} wide actions=${html`
    <label class="check"><input type="checkbox" checked=${compare} disabled=${!before} onChange=${(event) => setCompare(event.target.checked)} /><span>${t("revision.compare")}</span></label>
    ${at < writings.length - 1 && shown.content && html`<${Button} kind="primary" onClick=${restore}>${t("revision.restore")}<//>`}`}>
    <select aria-label=${t("revision.title")} value=${at} onChange=${(event) => setAt(Number(event.target.value))}>
      ${writings.map((writing, index) => html`<option value=${index} selected=${index === at}>${name(writing, index)}</option>`)}
    </select>
    ${before && compare
      ? html`<${Difference} before=${before.content} after=${shown.content} />`
      : html`<${Markdown} key=${at} text=${shown.content} />`}
  <//>`;
}
