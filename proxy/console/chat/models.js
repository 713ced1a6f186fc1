// Choosing a model: by typing a part of its name; with its window and prices where they are known.

import { Dialog } from "../app/dialogs.js";
import { html, useEffect, useRef, useState } from "../app/html.js";
import { compact } from "../app/format.js";
import { t } from "../app/strings.js";
import { attempt } from "../app/toast.js";
import { defaultModel, loadModels, models } from "./conversations.js";

const MOST_SHOWN = 200;

export function ModelDialog({ chosen, allowDefault = false, close }) {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const list = useRef(null);
  useEffect(() => {
    attempt(loadModels);
  }, []);
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const found = models.value
    .filter((model) => words.every((word) => `${model.id} ${model.owned_by}`.toLowerCase().includes(word)))
    .slice(0, MOST_SHOWN);
  const options = allowDefault && !words.length ? [{ id: "" }, ...found] : found;
  useEffect(() => {
    list.current?.children[at]?.scrollIntoView({ block: "nearest" });
  }, [at]);
  const onKeyDown = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !options.length) return;
    event.preventDefault();
    setAt((at + step + options.length) % options.length);
  };
  // A model may exist without being listed: what was typed can be taken as it is.
  const submit = () => close(options[at]?.id ?? text.trim());
  return html`<${Dialog} title=${t("model.choose")} close=${close} onSubmit=${submit}>
    <input type="search" autofocus role="combobox" aria-expanded="true" aria-controls="models" aria-activedescendant=${`model-${at}`}
      aria-label=${t("model.search")} placeholder=${t("model.search")} value=${text} onKeyDown=${onKeyDown}
      onInput=${(event) => {
        setText(event.target.value);
        setAt(0);
      }} />
    <ul class="options" id="models" role="listbox" aria-label=${t("model.choose")} ref=${list}>
      ${options.map(
        (model, index) => html`<li key=${model.id} id=${`model-${index}`} role="option" aria-selected=${index === at} class=${model.id === chosen ? "chosen" : ""}
          onClick=${() => close(model.id)}>
          <span class="option-name">${model.id || t("model.default", { model: defaultModel.value })}</span>
          ${model.id && html`<span class="hint">${aboutModel(model)}</span>`}
        </li>`,
      )}
    </ul>
    ${!options.length && html`<p class="hint">${text.trim() ? t("model.asTyped", { model: text.trim() }) : t("nothing")}</p>`}
  <//>`;
}

/** Say whose a model is, how long its window is, what it costs: as far as the server knows. */
export function aboutModel(model) {
  const window = model.context_tokens ?? model.context_window?.context_length ?? model.context_length;
  const input = model.input_price_per_million_tokens;
  const output = model.output_price_per_million_tokens;
  return [
    model.owned_by,
    Number.isFinite(window) && t("model.window", { tokens: compact(window) }),
    Number.isFinite(input) && Number.isFinite(output) && t("model.prices", { input, output }),
    Number.isFinite(model.points_per_request) && t("model.points", { points: model.points_per_request }),
  ]
    .filter(Boolean)
    .join(" · ");
}
