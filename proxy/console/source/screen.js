// What a project's source would be sent as: every file with its tokens, what is left out and why,
// tried live with patterns and a bound.

import { address, go, route } from "../app/address.js";
import { get } from "../app/api.js";
import { open } from "../app/dialogs.js";
import { html, useEffect, useState } from "../app/html.js";
import { bytes, count, saveAs } from "../app/format.js";
import { Icon } from "../app/icons.js";
import { t } from "../app/strings.js";
import { attempt } from "../app/toast.js";
import { Button, Field, Loading, Notice, useLoaded } from "../app/ui.js";
import { loadProjects, projects } from "../chat/conversations.js";
import { patternsOf } from "./patterns.js";
import { Tree } from "./tree.js";

const AFTER_MILLISECONDS = 400;
const MOST_SKIPPED = 500;

export default function SourceScreen() {
  const id = Number(route.value.parts[0]) || 0;
  useEffect(() => {
    attempt(async () => {
      await loadProjects();
      const first = projects.value.find((each) => each.ai_work_dir) ?? projects.value[0];
      if (!Number(route.value.parts[0]) && first) go(address("source", String(first.id)), { replace: true });
    });
  }, []);
  const project = projects.value.find((each) => each.id === id);
  const edit = async () => {
    const { ProjectDialog } = await import("../chat/project.js");
    const saved = await open(ProjectDialog, { project });
    if (saved?.id) go(address("source", String(saved.id)));
  };
  return html`<main class="page" tabindex="-1"><div class="page-content">
    <header class="page-head"><h1>${t("screen.source")}</h1>
      <select class="fit" aria-label=${t("project.choose")} value=${id} onChange=${(event) => go(address("source", event.target.value))}>
        ${!project && html`<option value="0">${t("project.choose")}</option>`}
        ${projects.value.map((each) => html`<option value=${each.id} selected=${each.id === id}>${each.name}</option>`)}
      </select>
      <${Button} onClick=${edit}><${Icon} name=${project ? "edit" : "plus"} />${project ? t("project.edit") : t("project.new")}<//>
    </header>
    ${project ? html`<${Preview} key=${`${id} ${project.ai_work_dir}`} project=${project} />` : html`<p class="hint">${t("source.none")}</p>`}
  </div></main>`;
}

function Preview({ project }) {
  const [fields, setFields] = useState({ include: "", exclude: "", tokens: "" });
  const [asked, setAsked] = useState(fields);
  useEffect(() => {
    const timer = setTimeout(() => setAsked(fields), AFTER_MILLISECONDS);
    return () => clearTimeout(timer);
  }, [fields]);
  const query = { include: patternsOf(asked.include), exclude: patternsOf(asked.exclude), max_tokens: Number(asked.tokens) || undefined };
  const path = `v1/projects/${project.id}/complete-source-code`;
  const { data, error, loading } = useLoaded((signal) => get(path, { ...query, text: false }, { signal }), [JSON.stringify(asked)]);
  const set = (name) => (event) => setFields({ ...fields, [name]: event.target.value });
  const input = (name, rest = {}) => (id, described) =>
    html`<input id=${id} aria-describedby=${described} value=${fields[name]} onInput=${set(name)} spellcheck="false" ...${rest} />`;
  const save = () =>
    attempt(async () => {
      const whole = await get(path, query);
      saveAs(`${project.name}.txt`, whole.completeSourceCode);
    });
  return html`
    <p class="hint">${project.ai_work_dir || t("source.noDirectory")}</p>
    <form class="columns card" onSubmit=${(event) => event.preventDefault()}>
      <${Field} label=${t("source.include")} hint=${t("source.patterns")}>${input("include", { placeholder: "src/**, *.md" })}<//>
      <${Field} label=${t("source.exclude")} hint=${t("source.excludeHint")}>${input("exclude", { placeholder: "tests/**" })}<//>
      <${Field} label=${t("source.maxTokens")} hint=${t("source.maxHint")}>${input("tokens", { type: "number", min: 1 })}<//>
    </form>
    ${error && html`<${Notice} kind="error">${error.message}<//>`}
    ${!data && loading && html`<${Loading} />`}
    ${data && html`<${Result} data=${data} loading=${loading} save=${save} />`}`;
}

function Result({ data, loading, save }) {
  const { total_tokens: tokens, total_bytes: size } = data;
  const redactions = Object.entries(data.redactions);
  const facts = [
    ["files", count(data.files.length)],
    ["tokens", count(tokens)],
    ["size", bytes(size)],
    ["skipped", count(data.skipped.length)],
    ["redacted", count(redactions.reduce((sum, [, number]) => sum + number, 0))],
  ];
  return html`<div class=${loading ? "stale-content" : ""} aria-busy=${loading}>
    <dl class="tiles">${facts.map(([name, value]) => html`<div class="tile" key=${name}><dt>${t(`source.${name}`)}</dt><dd>${value}</dd></div>`)}</dl>
    <div class="row"><h2>${t("source.sent")}</h2><span class="hint">${data.tokenizer}</span><${Button} kind="small" onClick=${save}><${Icon} name="save" />${t("source.save")}<//></div>
    <${Tree} files=${data.files} total=${tokens} />
    ${redactions.length > 0 &&
    html`<h2>${t("source.redactedWhat")}</h2><ul>${redactions.map(([kind, number]) => html`<li>${kind}: ${count(number)}</li>`)}</ul>`}
    <h2>${t("source.skippedWhat")}</h2>
    ${data.skipped.length
      ? html`<div class="table-box short" tabindex="0"><table><thead><tr><th scope="col">${t("source.path")}</th><th scope="col">${t("source.reason")}</th></tr></thead>
          <tbody>${data.skipped.slice(0, MOST_SKIPPED).map((each) => html`<tr><td class="path">${each.path}</td><td>${each.reason}</td></tr>`)}</tbody></table></div>
          ${data.skipped.length > MOST_SKIPPED && html`<p class="hint">${t("source.more", { count: count(data.skipped.length - MOST_SKIPPED) })}</p>`}`
      : html`<p class="hint">${t("source.nothingSkipped")}</p>`}
  </div>`;
}
