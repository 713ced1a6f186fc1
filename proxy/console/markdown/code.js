// Code blocks: their language, copy, save, and colours once they are finished.

import { saveAs } from "../app/format.js";
import { t } from "../app/strings.js";
import { cleanFragment } from "./parse.js";

const MAX_COLOURED_CHARACTERS = 100_000;

const LANGUAGES = {
  bash: ["sh", "shell", "zsh", "console"],
  cpp: ["c", "c++", "cc", "h", "hpp", "cxx"],
  css: ["scss", "less"],
  diff: ["patch"],
  go: ["golang"],
  java: [],
  javascript: ["js", "jsx", "mjs", "cjs", "node"],
  json: ["jsonc", "json5"],
  python: ["py", "python3"],
  rust: ["rs"],
  sql: ["mysql", "postgresql", "sqlite"],
  typescript: ["ts", "tsx"],
  xml: ["html", "svg", "xhtml", "vue"],
  yaml: ["yml", "toml", "ini"],
};

const EXTENSIONS = {
  bash: "sh",
  cpp: "cpp",
  go: "go",
  javascript: "js",
  markdown: "md",
  python: "py",
  rust: "rs",
  typescript: "ts",
  yaml: "yml",
  xml: "xml",
};

const known = new Map(
  Object.entries(LANGUAGES).flatMap(([name, others]) => [name, ...others].map((each) => [each, name])),
);

const loaded = new Map();

async function highlighter(language) {
  const core = (await import("../vendor/highlight.mjs")).default;
  if (!loaded.has(language)) {
    loaded.set(
      language,
      import(`../vendor/languages/${language}.mjs`).then((module) =>
        core.registerLanguage(language, module.default),
      ),
    );
  }
  await loaded.get(language);
  return core;
}

/** Make a block of code; `show` sets its text, `highlight` colours it. */
export function codeBlock(info = "") {
  const label = info.trim().split(/[\s{,:]/)[0].slice(0, 40);
  const language = known.get(label.toLowerCase());
  const element = make("div", "code");
  const head = make("div", "code-head");
  const name = make("span", "code-language");
  name.textContent = label || t("code");
  const code = make("code");
  const pre = make("pre");
  pre.tabIndex = 0;
  pre.append(code);
  let text = "";
  const copy = button("copy", async () => {
    await copyText(text);
    copy.textContent = t("code.copied");
    setTimeout(() => (copy.textContent = t("code.copy")), 2000);
  });
  const save = button("save", () => {
    const extension = EXTENSIONS[language] ?? language ?? "txt";
    saveAs(`code.${label.includes(".") ? label.split(".").pop() : extension}`, text);
  });
  head.append(name, copy, save);
  element.append(head, pre);
  return {
    element,
    show(content) {
      text = content;
      code.textContent = content;
    },
    async highlight() {
      if (!language || text.length > MAX_COLOURED_CHARACTERS) return;
      const shown = text;
      try {
        const core = await highlighter(language);
        if (shown !== text) return;
        code.replaceChildren(cleanFragment(core.highlight(text, { language }).value));
      } catch {
        // Without colours it can be read as well.
      }
    },
  };
}

/** Give the code blocks inside of lists and quotations the same head. */
export function decorateCode(fragment) {
  for (const pre of fragment.querySelectorAll("pre")) {
    const inner = pre.querySelector("code");
    const block = codeBlock(/language-(\S+)/.exec(inner?.className ?? "")?.[1]);
    block.show(pre.textContent);
    pre.replaceWith(block.element);
    block.highlight();
  }
}

/** Copy a text; works on plain http too, where the clipboard is closed to scripts. */
export async function copyText(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = make("textarea", "off-screen");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

function make(tag, className = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  return element;
}

function button(name, run) {
  const element = make("button", "code-button");
  element.type = "button";
  element.textContent = t(`code.${name}`);
  element.addEventListener("click", run);
  return element;
}
