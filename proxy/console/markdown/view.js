// A text that grows, shown as Markdown: what is finished stays as it is, and only the last block
// is parsed again when more comes.

import { html, useLayoutEffect, useRef } from "../app/html.js";
import { codeBlock, decorateCode } from "./code.js";
import { blocksOf, fragmentOf } from "./parse.js";
import { decoratePictures } from "./pictures.js";

const REFERENCE = /^ {0,3}\[[^\]]+\]:/m;

export class MarkdownView {
  constructor(element) {
    this.element = element;
    this.clear();
  }

  clear() {
    this.text = "";
    this.settledLength = 0;
    this.openNodes = [];
    this.openCode = null;
    this.element.replaceChildren();
  }

  /** Show the text; `done` says that nothing more comes. */
  update(text, done) {
    if (text.includes("\r")) text = text.replace(/\r\n?/g, "\n");
    if (text === this.text && done === this.done) return;
    const grew = text.startsWith(this.text);
    // A link's target may stand behind it, in a block of its own.
    const whole = done && !this.done && this.settledLength > 0 && REFERENCE.test(text);
    if (!grew || whole) this.clear();
    this.text = text;
    this.done = done;
    const tail = text.slice(this.settledLength);
    const blocks = blocksOf(tail);
    const open = done ? null : blocks.pop();
    if (blocks.length) {
      this.dropOpen();
      for (const block of blocks) this.element.append(...nodesOf(block));
      if (open) this.settledLength += offsetOfLine(tail, open.firstLine);
    }
    if (done) {
      if (!blocks.length) this.dropOpen();
      this.settledLength = text.length;
    } else if (open) this.showOpen(open);
  }

  dropOpen() {
    for (const node of this.openNodes) node.remove();
    this.openNodes = [];
    this.openCode = null;
  }

  showOpen(block) {
    if (block.fence) {
      // Code that is being written keeps its element, so that its scroll position stays.
      if (!this.openCode) {
        this.dropOpen();
        this.openCode = codeBlock(block.fence.info);
        this.openNodes = [this.openCode.element];
        this.element.append(this.openCode.element);
      }
      this.openCode.show(block.fence.content);
      return;
    }
    this.dropOpen();
    this.openNodes = nodesOf(block, false);
    this.element.append(...this.openNodes);
  }
}

function nodesOf(block, final = true) {
  if (block.fence) {
    const code = codeBlock(block.fence.info);
    code.show(block.fence.content);
    if (final) code.highlight();
    return [code.element];
  }
  const fragment = fragmentOf(block);
  if (final) {
    decorateCode(fragment);
    decoratePictures(fragment);
  }
  return [...fragment.childNodes];
}

function offsetOfLine(text, line) {
  let offset = 0;
  for (; line > 0; line--) offset = text.indexOf("\n", offset) + 1;
  return offset;
}

/** A component for a text; the element is the view's alone. */
export function Markdown({ text, done = true, took }) {
  const element = useRef(null);
  const view = useRef(null);
  useLayoutEffect(() => {
    view.current ??= new MarkdownView(element.current);
    const began = performance.now();
    view.current.update(text, done);
    took?.(performance.now() - began);
  }, [text, done]);
  return html`<div class="markdown" ref=${element} dir="auto"></div>`;
}
