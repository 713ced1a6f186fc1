// A plot by day; the library that draws it is loaded with the first one.

import { html, useEffect, useRef, useState } from "../app/html.js";
import { language, t } from "../app/strings.js";
import { theme } from "../app/theme.js";
import { Loading } from "../app/ui.js";

const HEIGHT = 240;
const COLOURS = ["--plot-1", "--plot-2", "--plot-3"];

let library = null;

async function load() {
  const sheet = document.createElement("link");
  sheet.rel = "stylesheet";
  sheet.href = new URL("../vendor/uplot.css", import.meta.url).href;
  document.head.append(sheet);
  library = (await import("../vendor/uplot.mjs")).default;
  return library;
}

export function Plot({ days, series, show, asLines = false }) {
  const box = useRef(null);
  const [uPlot, setLibrary] = useState(() => library);
  const [dark, setDark] = useState(() => matchMedia("(prefers-color-scheme: dark)").matches);
  useEffect(() => {
    if (!library) load().then((loaded) => setLibrary(() => loaded));
    const query = matchMedia("(prefers-color-scheme: dark)");
    const change = () => setDark(query.matches);
    query.addEventListener("change", change);
    return () => query.removeEventListener("change", change);
  }, []);
  const colours = `${theme.value} ${dark}`;
  const content = JSON.stringify([days, series]);
  useEffect(() => {
    if (!uPlot) return undefined;
    const element = box.current;
    const plot = new uPlot(optionsOf(uPlot, element, series, show, asLines), dataOf(days, series, asLines), element);
    const observer = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height: HEIGHT }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      plot.destroy();
    };
  }, [uPlot, content, colours, asLines]);
  return html`<div class="plot" ref=${box} role="img" aria-label=${t("usage.plot", { what: series.map((line) => line.label).join(", ") })}>${!uPlot && html`<${Loading} />`}</div>`;
}

/** Bars stand on each other: the first is drawn as high as all of them, the next over it. */
const dataOf = (days, series, asLines) => [
  days.map((day) => Date.parse(day) / 1000),
  ...series.map((line, at) =>
    asLines
      ? line.values
      : line.values.map((_, day) => series.slice(at).reduce((sum, each) => sum + each.values[day], 0) || null),
  ),
];

function optionsOf(uPlot, box, series, show, asLines) {
  const style = getComputedStyle(box);
  // A canvas knows no light-dark(): the colour as it is computed.
  const colour = (name) => {
    box.style.setProperty("color", `var(${name})`);
    const found = getComputedStyle(box).color;
    box.style.removeProperty("color");
    return found;
  };
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: `12px ${style.fontFamily}` };
  const dayText = new Intl.DateTimeFormat(language, { month: "numeric", day: "numeric", timeZone: "UTC" });
  const tip = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeZone: "UTC" });
  return {
    width: box.clientWidth,
    height: HEIGHT,
    cursor: { y: false, drag: { x: false, y: false } },
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
    // Half a day on either side, so that the first and the last bar are whole.
    scales: { x: { range: (_, first, last) => [first - 43_200, last + 43_200] }, y: { range: (_, low, high) => [0, Math.max(high || 0, 1e-9) * 1.08] } },
    axes: [
      { ...axis, grid: { show: false }, space: 60, values: (_, splits) => splits.map((second) => dayText.format(second * 1000)) },
      { ...axis, size: 66, values: (_, splits) => splits.map((value) => show(value)) },
    ],
    series: [
      { label: t("usage.day"), value: (_, second) => (second ? tip.format(second * 1000) : "–") },
      ...series.map((line, at) => ({
        label: line.label,
        stroke: colour(COLOURS[at]),
        width: 2,
        fill: asLines ? undefined : colour(COLOURS[at]),
        paths: asLines ? undefined : uPlot.paths.bars({ size: [0.7, 40] }),
        points: { show: asLines, size: 6 },
        spanGaps: true,
        value: (_, value, __, day) => (value === null || value === undefined || day === null ? "–" : show(line.values[day])),
      })),
    ],
  };
}
