// Two texts beside each other, or below each other where there is no room; the library that
// compares them is loaded when the first pair is.

import { html, useEffect, useMemo, useState } from "../app/html.js";
import { t } from "../app/strings.js";
import { Loading } from "../app/ui.js";

const CONTEXT_LINES = 3;
const LONGEST_PAIR = 2_000;

let library = null;

function useLibrary() {
  const [ready, setReady] = useState(library);
  useEffect(() => {
    if (!ready) import("../vendor/diff.mjs").then((module) => setReady((library = module.default)));
  }, []);
  return ready;
}

export function Difference({ before, after, split = false }) {
  const diff = useLibrary();
  const rows = useMemo(() => diff && rowsOf(diff, before, after), [diff, before, after]);
  if (!rows) return html`<${Loading} />`;
  if (!rows.some((row) => row.kind !== "same")) return html`<p class="hint">${t("diff.equal")}</p>`;
  return html`<div class=${`difference ${split ? "split" : ""}`} role="table" aria-label=${t("diff.title")} tabindex="0">
    ${folded(rows).map((row, at) => html`<${Row} key=${at} row=${row} split=${split} />`)}
  </div>`;
}

function Row({ row, split }) {
  if (row.kind === "gap") return html`<div class="diff-gap" role="row"><span role="cell">${t("diff.gap", { count: row.count })}</span></div>`;
  const cell = (side, sign) => {
    const parts = row[side];
    if (parts === undefined) return html`<div class="diff-cell empty" role="cell"></div>`;
    return html`<div class=${`diff-cell ${row.kind === "same" ? "" : side}`} role="cell"><span class="diff-sign" aria-label=${sign === "−" ? t("diff.removed") : sign === "+" ? t("diff.added") : undefined}>${sign}</span>${marked(parts)}</div>`;
  };
  if (row.kind === "same") {
    return html`<div class="diff-row" role="row">${cell("before", " ")}${split && cell("after", " ")}</div>`;
  }
  if (split) return html`<div class="diff-row" role="row">${cell("before", "−")}${cell("after", "+")}</div>`;
  return html`${row.before !== undefined && html`<div class="diff-row" role="row">${cell("before", "−")}</div>`}
  ${row.after !== undefined && html`<div class="diff-row" role="row">${cell("after", "+")}</div>`}`;
}

const marked = (parts) =>
  typeof parts === "string" ? parts || " " : parts.map((part) => (part.mark ? html`<mark>${part.value}</mark>` : part.value));

/** Return {kind: same | changed, before?, after?} for every line, changed lines in pairs. */
function rowsOf(diff, before, after) {
  const rows = [];
  const changes = diff.diffLines(before, after);
  for (let at = 0; at < changes.length; at++) {
    const change = changes[at];
    const lines = linesOf(change.value);
    const next = changes[at + 1];
    if (!change.added && !change.removed) {
      for (const line of lines) rows.push({ kind: "same", before: line, after: line });
    } else if (change.removed && next?.added) {
      rows.push(...pairs(diff, lines, linesOf(next.value)));
      at++;
    } else {
      for (const line of lines) rows.push({ kind: "changed", [change.added ? "after" : "before"]: line });
    }
  }
  return rows;
}

function pairs(diff, olds, news) {
  return Array.from({ length: Math.max(olds.length, news.length) }, (_, at) => {
    const row = { kind: "changed" };
    if (at < olds.length) row.before = olds[at];
    if (at < news.length) row.after = news[at];
    if (row.before !== undefined && row.after !== undefined && row.before.length + row.after.length < LONGEST_PAIR) {
      const parts = diff.diffWordsWithSpace(row.before, row.after);
      row.before = parts.filter((part) => !part.added).map((part) => ({ value: part.value, mark: part.removed }));
      row.after = parts.filter((part) => !part.removed).map((part) => ({ value: part.value, mark: part.added }));
    }
    return row;
  });
}

const linesOf = (text) => text.replace(/\n$/, "").split("\n");

/** Fold long runs of equal lines. */
function folded(rows) {
  const near = new Set();
  rows.forEach((row, at) => {
    if (row.kind === "same") return;
    for (let by = -CONTEXT_LINES; by <= CONTEXT_LINES; by++) near.add(at + by);
  });
  const result = [];
  for (const [at, row] of rows.entries()) {
    if (near.has(at)) result.push(row);
    else if (result.at(-1)?.kind === "gap") result.at(-1).count++;
    else result.push({ kind: "gap", count: 1 });
  }
  return result;
}
