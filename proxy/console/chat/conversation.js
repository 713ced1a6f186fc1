// One conversation: its head, its messages, where the next one is written.

import { address, go } from "../app/address.js";
import { confirm, open } from "../app/dialogs.js";
import { html, useEffect, useMemo, useState } from "../app/html.js";
import { Icon } from "../app/icons.js";
import { t } from "../app/strings.js";
import { attempt, say } from "../app/toast.js";
import { IconButton, Loading, Menu, Notice } from "../app/ui.js";
import { actionsOf } from "./actions.js";
import { Composer } from "./composer.js";
import {
  createConversation,
  defaultModel,
  deleteConversation,
  filter,
  getConversation,
  projectName,
  updateConversation,
} from "./conversations.js";
import { History } from "./history.js";
import { joinRunning } from "./replies.js";
import { heed, whileWatched } from "./tabs.js";
import { Thread } from "./thread.js";

const LOOK_EVERY_SECONDS = 8;
const NAME_CHARACTERS = 60;

/** A message that was written before its conversation was there: conversation id → its text. */
const firstMessages = new Map();

export function OpenConversation({ id, around }) {
  const history = useMemo(() => new History(id), [id]);
  const [about, setAbout] = useState(null);
  const [failure, setFailure] = useState(null);
  const actions = actionsOf(history);

  useEffect(() => {
    const abort = new AbortController();
    let seen = "";
    const read = async () => {
      const found = await getConversation(id, { signal: abort.signal });
      setAbout(found);
      return found.updated_at;
    };
    const look = async () => {
      if (!history.loaded.value) return;
      try {
        const now = await read();
        if (now !== seen && !history.live.size && !history.pending.value) {
          await history.refresh();
          seen = now;
        }
        joinRunning(history);
      } catch (error) {
        if (error.status === 404) setFailure(error);
      }
    };
    Promise.all([read(), history.open(around, abort.signal)]).then(
      ([now]) => {
        seen = now;
        joinRunning(history);
        const first = firstMessages.get(id);
        firstMessages.delete(id);
        if (first) actions.send(first);
      },
      (error) => error.name !== "AbortError" && setFailure(error),
    );
    const stopHeeding = heed((change) => change.conversation === id && look());
    const stopWatching = whileWatched(look, LOOK_EVERY_SECONDS);
    return () => {
      abort.abort();
      stopHeeding();
      stopWatching();
    };
  }, [history]);

  const change = (fields) =>
    attempt(async () => {
      await updateConversation(id, fields);
      setAbout(await getConversation(id));
      if ("system_prompt" in fields) await history.refresh();
    });

  if (failure) {
    return html`<${BackBar} /><${Notice} kind="error">${failure.message} <a href=${address("chat")}>${t("back")}</a><//>`;
  }
  if (!about || !history.loaded.value) return html`<${BackBar} /><${Loading} />`;
  const busy = history.running.value > 0 || Boolean(history.pending.value);
  return html`
    <${Head} about=${about} change=${change} history=${history} />
    <${Thread} history=${history} around=${around} />
    <${Composer} key=${id} conversationId=${id} projectId=${about.project_id} model=${about.model} busy=${busy}
      send=${(body) => actions.send(body)} stop=${() => actions.stop()} />`;
}

const BackBar = () => html`<header class="head"><${Back} /></header>`;

const Back = () =>
  html`<a class="icon-button back" href=${address("chat")} aria-label=${t("back")} title=${t("back")}><${Icon} name="back" /></a>`;

function Head({ about, change, history }) {
  const settings = async () => {
    const { SettingsDialog } = await import("./settings.js");
    const fields = await open(SettingsDialog, { about });
    if (fields) await change(fields);
  };
  const chooseModel = async () => {
    const { ModelDialog } = await import("./models.js");
    const model = await open(ModelDialog, { chosen: about.model, allowDefault: true });
    if (model !== undefined) await change({ model });
  };
  const exportAs = (format) => async () => {
    const { exportConversation } = await import("./transfer.js");
    await attempt(() => exportConversation(about, format));
  };
  const archive = async () => {
    await change({ status: about.status ? 0 : 1 });
    say(t(about.status ? "conversation.restored" : "conversation.archivedNow"));
  };
  const remove = async () => {
    const name = about.name || t("conversation.unnamed");
    if (!(await confirm(t("delete.title"), t("delete.conversation", { name }), t("delete")))) return;
    await attempt(async () => {
      await deleteConversation(about.id);
      go(address("chat"));
    });
  };
  const items = [
    { label: t("conversation.settings"), icon: "settings", run: settings },
    { label: t("action.plan"), icon: "plans", run: () => actionsOf(history).plan(null) },
    null,
    { label: t("export.markdown"), icon: "save", run: exportAs("markdown") },
    { label: t("export.json"), icon: "save", run: exportAs("json") },
    { label: t("export.openai"), icon: "save", run: exportAs("openai") },
    null,
    { label: about.status ? t("conversation.restore") : t("conversation.archive"), icon: "archive", run: archive },
    { label: t("delete"), icon: "trash", danger: true, run: remove },
  ];
  return html`<header class="head">
    <${Back} />
    <div class="head-title">
      <h1 dir="auto">${about.name || t("conversation.unnamed")}</h1>
      <p class="hint">${[projectName(about.project_id), about.assistance_role, about.status && t("conversation.isArchived")].filter(Boolean).join(" · ")}</p>
    </div>
    <button type="button" class="button model-button" title=${t("model.choose")} onClick=${chooseModel}>
      <span>${about.model || t("model.default", { model: defaultModel.value })}</span><${Icon} name="down" />
    </button>
    <${IconButton} icon="settings" label=${t("conversation.settings")} class="wide-only" onClick=${settings} />
    <${Menu} label=${t("conversation.more")} items=${items} />
  </header>`;
}

/** Name a conversation after the first words of its first message. */
function nameOf(text) {
  const line = text.trim().split("\n")[0].replace(/[`*_#>]+/g, "").trim();
  return Array.from(line).slice(0, NAME_CHARACTERS).join("");
}

export function NewConversation() {
  const [fields, setFields] = useState({ project_id: filter.value.project || 0 });
  const chooseModel = async () => {
    const { ModelDialog } = await import("./models.js");
    const model = await open(ModelDialog, { chosen: fields.model, allowDefault: true });
    if (model !== undefined) setFields({ ...fields, model });
  };
  const settings = async () => {
    const { SettingsDialog } = await import("./settings.js");
    const changes = await open(SettingsDialog, { about: fields });
    if (changes) setFields({ ...fields, ...changes });
  };
  const send = async (body) => {
    const name = fields.name || nameOf(body.content);
    const id = await attempt(() => createConversation({ ...fields, name }));
    if (!id) return false;
    firstMessages.set(id, body);
    go(address("chat", id), { replace: true });
    return true;
  };
  return html`
    <header class="head">
      <${Back} />
      <div class="head-title"><h1>${t("conversation.new")}</h1><p class="hint">${projectName(fields.project_id)}</p></div>
      <button type="button" class="button model-button" onClick=${chooseModel}>
        <span>${fields.model || t("model.default", { model: defaultModel.value })}</span><${Icon} name="down" />
      </button>
      <${IconButton} icon="settings" label=${t("conversation.settings")} onClick=${settings} />
    </header>
    <div class="thread"><div class="welcome"><h2>${t("new.title")}</h2><p>${t("new.text")}</p></div></div>
    <${Composer} conversationId="" projectId=${fields.project_id} model=${fields.model} busy=${false} send=${send} stop=${() => {}} />`;
}
