// The list beside a conversation: projects, what was talked about, search.

import { address } from "../app/address.js";
import { open } from "../app/dialogs.js";
import { html, useEffect, useState } from "../app/html.js";
import { shortTime } from "../app/format.js";
import { Icon } from "../app/icons.js";
import { t } from "../app/strings.js";
import { attempt } from "../app/toast.js";
import { IconButton, isInUse, Loading, Menu, Sentinel } from "../app/ui.js";
import {
  choose,
  conversations,
  filter,
  loadConversations,
  loadMoreConversations,
  mayHaveMore,
  projectName,
  projects,
} from "./conversations.js";
import { SearchResults } from "./search.js";

export function ConversationList({ current }) {
  const [text, setText] = useState("");
  useEffect(() => {
    const onKeyDown = (event) => {
      if (event.key === "/" && !isInUse(event.target)) {
        event.preventDefault();
        document.getElementById("search")?.focus();
      }
    };
    addEventListener("keydown", onKeyDown);
    return () => removeEventListener("keydown", onKeyDown);
  }, []);
  return html`<aside class="list" aria-label=${t("conversations")}>
    <header class="list-head">
      <${Projects} />
      <a class="button primary" href=${address("chat", "new")}><${Icon} name="plus" />${t("conversation.new")}</a>
      <${Menu} label=${t("list.more")} items=${menuItems()} />
    </header>
    <div class="search">
      <${Icon} name="search" />
      <input id="search" type="search" aria-label=${t("search")} placeholder=${t("search.placeholder")} value=${text}
        onInput=${(event) => setText(event.target.value)}
        onKeyDown=${(event) => event.key === "Escape" && setText("")} />
    </div>
    ${text.trim() ? html`<${SearchResults} text=${text.trim()} clear=${() => setText("")} />` : html`<${Conversations} current=${current} />`}
  </aside>`;
}

function menuItems() {
  const project = filter.value.project;
  const dialog = (load, name, properties) => async () => {
    const module = await load();
    const done = await open(module[name], properties);
    if (done) await attempt(loadConversations);
    return done;
  };
  const transfer = () => import("./transfer.js");
  const projectDialogs = () => import("./project.js");
  const items = [
    { label: t("project.new"), icon: "folder", run: dialog(projectDialogs, "ProjectDialog", {}) },
    { label: t("import.title"), icon: "upload", run: dialog(transfer, "ImportDialog", {}) },
    null,
    {
      label: filter.value.archived ? t("list.active") : t("list.archived"),
      icon: "archive",
      run: () => choose({ ...filter.value, archived: !filter.value.archived }),
    },
  ];
  const chosen = projects.value.find((each) => each.id === project);
  if (chosen) {
    items.splice(1, 0, { label: t("project.edit"), icon: "edit", run: dialog(projectDialogs, "ProjectDialog", { project: chosen }) });
  }
  return items;
}

function Projects() {
  const value = filter.value.project ?? "all";
  return html`<select class="projects" aria-label=${t("project.choose")} value=${value}
    onChange=${(event) => choose({ ...filter.value, project: event.target.value === "all" ? null : Number(event.target.value) })}>
    <option value="all" selected=${value === "all"}>${t("project.all")}</option>
    ${projects.value.map((project) => html`<option key=${project.id} value=${project.id} selected=${value === project.id}>${project.name}</option>`)}
    <option value="0" selected=${value === 0}>${t("project.none")}</option>
  </select>`;
}

function Conversations({ current }) {
  const list = conversations.value;
  if (!list) return html`<${Loading} />`;
  const grouped = filter.value.project === null && projects.value.length > 0;
  const groups = grouped ? groupsOf(list) : [["", list]];
  return html`<nav class="conversations" aria-label=${t("conversations")}>
    ${filter.value.archived && html`<p class="hint archived-note">${t("list.isArchived")} <button type="button" class="button link" onClick=${() => choose({ ...filter.value, archived: false })}>${t("list.active")}</button></p>`}
    ${!list.length && html`<p class="empty">${filter.value.archived ? t("nothing") : t("list.empty")}</p>`}
    ${groups.map(
      ([name, members]) => html`<section key=${name}>
        ${grouped && html`<h2><${Icon} name="folder" />${name || t("project.none")}</h2>`}
        <ul>
          ${members.map((each) => html`<${Entry} key=${each.id} conversation=${each} isCurrent=${each.id === current} />`)}
        </ul>
      </section>`,
    )}
    ${mayHaveMore.value && html`<${Sentinel} key=${list.length} onVisible=${() => attempt(loadMoreConversations)}><${Loading} /><//>`}
  </nav>`;
}

function groupsOf(list) {
  const groups = new Map();
  for (const each of list) {
    const name = projectName(each.project_id);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(each);
  }
  return [...groups];
}

function Entry({ conversation, isCurrent }) {
  return html`<li>
    <a href=${address("chat", conversation.id)} aria-current=${isCurrent ? "page" : undefined}>
      <span class="entry-name" dir="auto">${conversation.name || t("conversation.unnamed")}</span>
      <span class="entry-about">${shortTime(conversation.updated_at)}${conversation.model && ` · ${conversation.model}`}</span>
    </a>
  </li>`;
}
