// The first screen: conversations on the left, the one that is open on the right.

import { address, go, route } from "../app/address.js";
import { html, useEffect, useState } from "../app/html.js";
import { t } from "../app/strings.js";
import { attempt } from "../app/toast.js";
import { loadConversations, loadModels, loadProjects } from "./conversations.js";
import { ConversationList } from "./list.js";
import { heed, whileWatched } from "./tabs.js";

const LOOK_EVERY_SECONDS = 20;
let loaded = null;

export default function ChatScreen() {
  const { parts, query } = route.value;
  const id = parts[0] ?? "";
  const around = Number(query.get("message")) || null;
  useEffect(() => {
    attempt(() => Promise.all([loadConversations(), loadProjects(), loadModels()]));
    const stopHeeding = heed((change) => attempt(change.projects ? loadProjects : loadConversations));
    const stopWatching = whileWatched(() => attempt(loadConversations), LOOK_EVERY_SECONDS);
    return () => {
      stopHeeding();
      stopWatching();
    };
  }, []);
  return html`
    <${ConversationList} current=${id} />
    <main class=${`chat ${id ? "" : "vacant"}`} tabindex="-1" id="main">
      ${id ? html`<${Pane} id=${id} around=${around} />` : html`<${Welcome} />`}
    </main>`;
}

/** The part that needs Markdown comes with the first conversation that is opened. */
function Pane({ id, around }) {
  const [module, setModule] = useState(loaded);
  useEffect(() => {
    if (!module) attempt(async () => setModule((loaded = await import("./conversation.js"))));
  }, []);
  if (!module) return null;
  if (id === "new") return html`<${module.NewConversation} key="new" />`;
  return html`<${module.OpenConversation} key=${`${id} ${around ?? ""}`} id=${id} around=${around} />`;
}

function Welcome() {
  return html`<div class="welcome">
    <h1>${t("welcome.title")}</h1>
    <p>${t("welcome.text")}</p>
    <button type="button" class="button primary" onClick=${() => go(address("chat", "new"))}>${t("conversation.new")}</button>
  </div>`;
}
