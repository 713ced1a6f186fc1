// Plan documents: what was planned, every version of it, and the templates it is made with.

import { address, route } from "../app/address.js";
import { get } from "../app/api.js";
import { open } from "../app/dialogs.js";
import { html, useEffect, useState } from "../app/html.js";
import { shortTime } from "../app/format.js";
import { Icon } from "../app/icons.js";
import { t } from "../app/strings.js";
import { attempt } from "../app/toast.js";
import { Button, Loading, Menu, Notice, useLoaded } from "../app/ui.js";
import { loadModels, loadProjects, projectName, projects } from "../chat/conversations.js";
import { Categories } from "./categories.js";
import { Document } from "./document.js";
import { GenerateDialog } from "./generate.js";
import { NewDocumentDialog } from "./write.js";

const PAGE = 50;

export default function PlansScreen() {
  const chosen = route.value.parts[0] ?? "";
  const [project, setProject] = useState("");
  const [category, setCategory] = useState("");
  const [text, setText] = useState("");
  const [size, setSize] = useState(PAGE);
  const categories = useLoaded((signal) => get("v1/plan/categories", {}, { signal }), []);
  const list = useLoaded(
    (signal) => find({ project, category, text, size }, signal),
    [project, category, text, size],
  );
  useEffect(() => {
    attempt(() => Promise.all([loadProjects(), loadModels()]));
  }, []);
  const changed = () => {
    list.reload();
    categories.reload();
  };
  const make = async (dialog) => {
    const document = await open(dialog, { projectId: Number(project) || 0, categoryId: Number(category) || 0 });
    if (!document) return;
    changed();
    location.hash = address("plans", String(document.id));
  };
  const names = categories.data ?? [];
  return html`
    <aside class="list" aria-label=${t("screen.plans")}>
      <header class="list-head">
        <${Button} kind="primary" onClick=${() => make(GenerateDialog)}><${Icon} name="plus" />${t("plan.generate")}<//>
        <${Menu} label=${t("plan.more")} items=${[
          { label: t("plan.write"), icon: "edit", run: () => make(NewDocumentDialog) },
          { label: t("plan.categories"), icon: "settings", run: () => (location.hash = address("plans", "categories")) },
        ]} />
        <select class="half" aria-label=${t("project")} value=${project} onChange=${(event) => setProject(event.target.value)}>
          <option value="">${t("project.all")}</option>
          ${projects.value.map((each) => html`<option value=${each.id}>${each.name}</option>`)}
          <option value="0">${t("project.none")}</option>
        </select>
        <select class="half" aria-label=${t("plan.category")} value=${category} onChange=${(event) => setCategory(event.target.value)}>
          <option value="">${t("plan.allCategories")}</option>
          ${names.map((each) => html`<option value=${each.id}>${each.name}</option>`)}
        </select>
      </header>
      <div class="search"><${Icon} name="search" />
        <input type="search" aria-label=${t("plan.search")} placeholder=${t("plan.searchHint")} value=${text} onInput=${(event) => setText(event.target.value)} />
      </div>
      <${List} list=${list} names=${names} chosen=${chosen} more=${() => setSize(size + PAGE)} />
    </aside>
    <main class=${`page ${chosen ? "" : "vacant"}`} tabindex="-1">
      ${chosen === "categories"
        ? html`<${Categories} list=${names} changed=${changed} />`
        : chosen
          ? html`<${Document} key=${chosen} id=${chosen} categories=${names} changed=${list.reload} />`
          : html`<div class="welcome"><h1>${t("screen.plans")}</h1><p>${t("plan.welcome")}</p></div>`}
    </main>`;
}

/** Find newest versions; "#tag" words look for tags, the rest for file names. */
async function find({ project, category, text, size }, signal) {
  const words = text.trim().split(/\s+/).filter(Boolean);
  const tags = words.filter((word) => word.startsWith("#") && word.length > 1).map((word) => word.slice(1));
  if (!tags.length) {
    return get("v1/plan/documents/latest", { project_id: project, category_id: category, query: text.trim(), page_size: size }, { signal });
  }
  const found = await get("v1/plan/documents/search-by-tags", { project_id: project, tags: tags.join(","), match: "all" }, { signal });
  const name = words.filter((word) => !word.startsWith("#")).join(" ").toLowerCase();
  const items = found.filter(
    (each) => (!category || each.category_id === Number(category)) && each.filename.toLowerCase().includes(name),
  );
  return { total: items.length, items };
}

function List({ list, names, chosen, more }) {
  if (list.error) return html`<${Notice} kind="error">${list.error.message}<//>`;
  if (!list.data) return html`<${Loading} />`;
  const { items, total } = list.data;
  const nameOf = (id) => names.find((each) => each.id === id)?.name ?? "";
  return html`<nav class="conversations" aria-label=${t("plan.documents")}>
    ${!items.length && html`<p class="empty">${t("plan.empty")}</p>`}
    <ul>${items.map(
      (each) => html`<li key=${each.id}><a href=${address("plans", String(each.id))} aria-current=${String(each.id) === chosen ? "page" : undefined}>
        <span class="entry-name">${each.filename}</span>
        <span class="entry-about">${each.stale && html`<span class="stale">${t("plan.stale")}</span>`}
          ${[nameOf(each.category_id), projectName(each.project_id), `v${each.version}`, shortTime(each.created_time)].filter(Boolean).join(" · ")}</span>
      </a></li>`,
    )}</ul>
    ${total > items.length && html`<${Button} onClick=${more}>${t("more")}<//>`}
  </nav>`;
}
