// Markdown to DOM, and never to anything that runs: HTML in a text stays text, and what comes out
// is cleaned once more.

import { apiUrl } from "../app/address.js";
import { t } from "../app/strings.js";
import markdownit from "../vendor/markdown-it.mjs";
import DOMPurify from "../vendor/purify.mjs";

const md = markdownit({ html: false, linkify: true, breaks: true });

const PART = /^(?:https?:\/\/[^/]+)?\/?(?:.*\/)?(v1\/chat\/messages\/\d+\/parts\/\d+)$/;
const OWN_PICTURE = /^data:image\/(?:png|jpe?g|gif|webp);/i;

const ALLOWED = {
  ALLOWED_TAGS: [
    ..."a abbr b blockquote br code del div em h1 h2 h3 h4 h5 h6 hr i img li ol p pre s span".split(" "),
    ..."strong sub sup table tbody td th thead tr ul".split(" "),
  ],
  ALLOWED_ATTR: ["href", "title", "class", "start", "src", "alt", "target", "rel", "loading"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|data:image\/(?:png|jpe?g|gif|webp);)/i,
  RETURN_DOM_FRAGMENT: true,
};

// A style attribute is refused by the page's own policy: alignment becomes a class.
for (const name of ["th_open", "td_open"]) {
  md.renderer.rules[name] = (tokens, at, options, env, renderer) => {
    const token = tokens[at];
    const side = /text-align:(\w+)/.exec(token.attrGet("style") ?? "")?.[1];
    token.attrs = side ? [["class", `align-${side}`]] : null;
    return renderer.renderToken(tokens, at, options);
  };
}

md.renderer.rules.table_open = () => '<div class="table"><table>';
md.renderer.rules.table_close = () => "</table></div>";

md.renderer.rules.link_open = (tokens, at, options, env, renderer) => {
  tokens[at].attrSet("target", "_blank");
  tokens[at].attrSet("rel", "noopener noreferrer");
  return renderer.renderToken(tokens, at, options);
};

// A picture of another host would tell that host that, and what, somebody reads: it is a link.
md.renderer.rules.image = (tokens, at, options, env, renderer) => {
  const token = tokens[at];
  const source = token.attrGet("src") ?? "";
  const name = renderer.renderInlineAsText(token.children ?? [], options, env);
  const escape = md.utils.escapeHtml;
  const part = PART.exec(source)?.[1];
  if (part || OWN_PICTURE.test(source)) {
    const from = part ? apiUrl(part) : source;
    return `<img src="${escape(from)}" alt="${escape(name)}" loading="lazy">`;
  }
  const label = t("picture.at", { name: name || t("picture"), host: hostOf(source) });
  return `<a class="remote-picture" href="${escape(source)}" target="_blank" rel="noopener noreferrer">${escape(label)}</a>`;
};

function hostOf(address) {
  try {
    return new URL(address).host;
  } catch {
    return "?";
  }
}

/** Return the top-level blocks of a text: [{html tokens, firstLine, isCode, open}]. */
export function blocksOf(text) {
  const env = {};
  const tokens = md.parse(text, env);
  const blocks = [];
  let depth = 0;
  for (const token of tokens) {
    if (depth === 0) blocks.push({ tokens: [], env, firstLine: token.map?.[0] ?? 0, fence: null });
    const block = blocks.at(-1);
    block.tokens.push(token);
    if (depth === 0 && token.type === "fence") block.fence = token;
    depth += token.nesting;
  }
  return blocks;
}

/** Return a block as a clean fragment. */
export function fragmentOf(block) {
  return DOMPurify.sanitize(md.renderer.render(block.tokens, md.options, block.env), ALLOWED);
}

/** Return a highlighter's HTML as a clean fragment. */
export function cleanFragment(html) {
  return DOMPurify.sanitize(html, ALLOWED);
}
