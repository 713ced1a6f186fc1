// What was used: tokens, cost, points, latency; a table beside each plot, and all of it as CSV.

import { get } from "../app/api.js";
import { html, useEffect, useState } from "../app/html.js";
import { compact, count, duration, saveAs } from "../app/format.js";
import { Icon } from "../app/icons.js";
import { t } from "../app/strings.js";
import { attempt } from "../app/toast.js";
import { Button, Loading, Notice, useLoaded } from "../app/ui.js";
import { loadProjects, projectName } from "../chat/conversations.js";
import { Plot } from "./plot.js";

const RANGES = [7, 30, 90, 365];
const GROUPS = ["model", "project", "key"];

/** What is plotted by day: each line reads a number from a day. */
const PLOTS = [
  { name: "tokens", lines: [["prompt_tokens", (day) => day.prompt_tokens], ["completion_tokens", (day) => day.completion_tokens]], show: compact },
  { name: "requests", lines: [["requests", (day) => day.requests], ["errors", (day) => day.errors]], show: compact },
  { name: "cost", lines: [["cost", (day) => day.cost]], show: (value) => compact(value), optional: true },
  { name: "points", lines: [["points", (day) => day.points]], show: compact, optional: true },
  { name: "latency", lines: ["p50", "p90", "p99"].map((p) => [p, (day) => day.duration_ms[p]]), show: duration, asLines: true },
];

export default function UsageScreen() {
  const [days, setDays] = useState(30);
  const [group, setGroup] = useState("model");
  const [name, setName] = useState("tokens");
  useEffect(() => {
    attempt(loadProjects);
  }, []);
  const from = dayOf(days - 1);
  const to = dayOf(0);
  const byDay = useLoaded((signal) => get("v1/usage", { from, to, group_by: "day" }, { signal }), [from, to]);
  const byGroup = useLoaded((signal) => get("v1/usage", { from, to, group_by: group }, { signal }), [from, to, group]);
  const error = byDay.error ?? byGroup.error;
  return html`<main class="page" tabindex="-1"><div class="page-content">
    <header class="page-head">
      <h1>${t("screen.usage")}</h1>
      <select class="fit" aria-label=${t("usage.range")} value=${days} onChange=${(event) => setDays(Number(event.target.value))}>
        ${RANGES.map((range) => html`<option value=${range} selected=${range === days}>${t("usage.days", { count: range })}</option>`)}
      </select>
    </header>
    ${error ? html`<${Notice} kind="error">${error.message}<//>` : !byDay.data ? html`<${Loading} />` : html`
      <${Totals} total=${byDay.data.total} />
      <${ByDay} data=${byDay.data} from=${from} days=${days} name=${name} choose=${setName} />
      ${byGroup.data ? html`<${ByGroup} data=${byGroup.data} group=${group} choose=${setGroup} />` : html`<${Loading} />`}`}
  </div></main>`;
}

function dayOf(daysAgo) {
  return new Date(Date.now() - daysAgo * 86_400_000).toISOString().slice(0, 10);
}

function Totals({ total }) {
  const facts = [
    ["requests", count(total.requests)],
    ["errors", count(total.errors)],
    ["total_tokens", compact(total.total_tokens)],
    total.cost > 0 && ["cost", count(total.cost)],
    total.points > 0 && ["points", count(total.points)],
    ["p50", duration(total.duration_ms.p50)],
  ].filter(Boolean);
  return html`<dl class="tiles">${facts.map(
    ([name, value]) => html`<div class="tile" key=${name}><dt>${t(`usage.${name}`)}</dt><dd>${value}</dd></div>`,
  )}</dl>`;
}

function ByDay({ data, from, days, name, choose }) {
  const known = new Map(data.groups.map((each) => [each.group, each]));
  const all = Array.from({ length: days }, (_, at) => new Date(Date.parse(from) + at * 86_400_000).toISOString().slice(0, 10));
  const offered = PLOTS.filter((plot) => !plot.optional || data.total[plot.name] > 0);
  const plot = offered.find((each) => each.name === name) ?? offered[0];
  const series = plot.lines.map(([label, read]) => ({
    label: t(`usage.${label}`),
    values: all.map((day) => (known.has(day) ? read(known.get(day)) : plot.asLines ? null : 0)),
  }));
  return html`<section class="card" aria-label=${t("usage.byDay")}>
    <div class="row"><h2>${t("usage.byDay")}</h2>
      <div class="row" role="group" aria-label=${t("usage.what")}>${offered.map(
        (each) => html`<button type="button" class="button small" aria-pressed=${each === plot} onClick=${() => choose(each.name)}>${t(`usage.${each.name}`)}</button>`,
      )}</div>
      <${Save} name="usage-by-day" data=${data} first="day" />
    </div>
    <${Plot} days=${all} series=${series} show=${plot.show} asLines=${plot.asLines} />
    <details><summary>${t("usage.table")}</summary><div class="table-box" tabindex="0"><table>
      <thead><tr><th scope="col">${t("usage.day")}</th>${series.map((line) => html`<th scope="col" class="number">${line.label}</th>`)}</tr></thead>
      <tbody>${all
        .map((day, at) => ({ day, at }))
        .filter(({ day }) => known.has(day))
        .reverse()
        .map(({ day, at }) => html`<tr key=${day}><th scope="row">${day}</th>${series.map((line) => html`<td class="number">${plot.asLines ? duration(line.values[at]) : count(line.values[at])}</td>`)}</tr>`)}</tbody>
    </table></div></details>
  </section>`;
}

function ByGroup({ data, group, choose }) {
  const rows = [...data.groups].sort((one, other) => other.total_tokens - one.total_tokens);
  const most = Math.max(1, ...rows.map((row) => row.total_tokens));
  const nameOf = (row) =>
    group === "project" ? projectName(row.group) || t("project.none") : group === "key" ? (row.name ? `${row.name} …${row.last4 ?? ""}` : row.group || t("usage.noKey")) : row.group;
  return html`<section class="card" aria-label=${t("usage.byGroup")}>
    <div class="row"><h2>${t("usage.byGroup")}</h2>
      <div class="row" role="group" aria-label=${t("usage.byGroup")}>${GROUPS.map(
        (each) => html`<button type="button" class="button small" aria-pressed=${each === group} onClick=${() => choose(each)}>${t(`usage.${each}`)}</button>`,
      )}</div>
      <${Save} name=${`usage-by-${group}`} data=${data} first=${group} />
    </div>
    <div class="table-box" tabindex="0"><table>
      <thead><tr><th scope="col">${t(`usage.${group}`)}</th>${["requests", "errors", "prompt_tokens", "completion_tokens", "cost", "points", "p50"].map((name) => html`<th scope="col" class="number">${t(`usage.${name}`)}</th>`)}</tr></thead>
      <tbody>${rows.map(
        (row) => html`<tr key=${row.group}>
          <th scope="row">${nameOf(row)}<meter min="0" max=${most} value=${row.total_tokens} aria-hidden="true"></meter></th>
          <td class="number">${count(row.requests)}</td><td class="number">${count(row.errors)}</td>
          <td class="number">${count(row.prompt_tokens)}</td><td class="number">${count(row.completion_tokens)}</td>
          <td class="number">${count(row.cost)}</td><td class="number">${count(row.points)}</td><td class="number">${duration(row.duration_ms.p50)}</td>
        </tr>`,
      )}</tbody>
    </table></div>
    ${!rows.length && html`<p class="hint">${t("usage.none")}</p>`}
  </section>`;
}

function Save({ name, data, first }) {
  const save = () => saveAs(`${name}_${data.from}_${data.to}.csv`, csvOf(data, first), "text/csv;charset=utf-8");
  return html`<${Button} kind="small" onClick=${save}><${Icon} name="save" />${t("usage.csv")}<//>`;
}

function csvOf(data, first) {
  const names = ["requests", "errors", "prompt_tokens", "completion_tokens", "total_tokens", "cost", "points"];
  const latencies = ["first_token_ms", "duration_ms"].flatMap((name) => ["p50", "p90", "p99"].map((p) => [name, p]));
  const rows = data.groups.map((row) => [
    row.group,
    row.name ?? "",
    ...names.map((name) => row[name]),
    ...latencies.map(([name, p]) => row[name][p]),
  ]);
  const head = [first, "name", ...names, ...latencies.map((pair) => pair.join("_"))];
  // A cell that begins like a formula would be one in a spreadsheet.
  const cell = (value) => {
    const text = String(value ?? "").replace(/^[=+\-@\t]/, "'$&");
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return "\ufeff" + [head, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}
