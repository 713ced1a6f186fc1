// The messages on the screen. However long a conversation is, only a window of it is in the page:
// near either end of the window more is taken in there, and dropped at the other end.

import { html, useEffect, useLayoutEffect, useRef, useState } from "../app/html.js";
import { Icon } from "../app/icons.js";
import { t } from "../app/strings.js";
import { attempt } from "../app/toast.js";
import { isInUse, Loading } from "../app/ui.js";
import { Message } from "./message.js";

const FIRST = 24;
const STEP = 40;
const MOST = 160;
const NEAR_PIXELS = 800;

/** Return the slice of ids between two of them; null means the first or the newest. */
function windowOf(ids, range) {
  const from = range.first === null ? -1 : ids.indexOf(range.first);
  const to = range.last === null ? -1 : ids.indexOf(range.last);
  const last = to < 0 ? ids.length - 1 : to;
  const first = from < 0 ? Math.max(0, last - FIRST + 1) : from;
  return [first, Math.max(first, last)];
}

export function Thread({ history, around }) {
  const scroller = useRef(null);
  const content = useRef(null);
  const state = useRef({ atEnd: !around, anchor: null, vnodes: new Map(), busy: false }).current;
  const [range, setRange] = useState(() => startingRange(history, around));
  const [away, setAway] = useState(false);
  const ids = history.ids.value;
  const [first, last] = windowOf(ids, range);
  const shown = ids.slice(first, last + 1);

  const remember = () => {
    const top = scroller.current.getBoundingClientRect().top;
    for (const element of content.current.children) {
      const box = element.getBoundingClientRect();
      if (element.dataset.id && box.bottom > top) {
        state.anchor = { id: element.dataset.id, top: box.top };
        return;
      }
    }
  };

  // Whatever came or went above, what was looked at stays where it was.
  useLayoutEffect(() => {
    if (!state.anchor) return;
    const element = content.current.querySelector(`[data-id="${state.anchor.id}"]`);
    if (element) scroller.current.scrollTop += element.getBoundingClientRect().top - state.anchor.top;
    state.anchor = null;
  }, [range, ids]);

  const grow = async (up) => {
    if (state.busy) return;
    state.busy = true;
    try {
      if (up && first === 0) await history.loadOlder();
      if (!up && last === history.ids.value.length - 1) await history.loadNewer();
      const now = history.ids.value;
      const [from, to] = windowOf(now, range.first === null ? { ...range, first: shown[0] } : range);
      const newFirst = up ? Math.max(0, from - STEP) : Math.max(0, from, to + STEP - MOST);
      const newLast = up ? Math.min(to, newFirst + MOST - 1) : Math.min(now.length - 1, to + STEP);
      if (newFirst === from && newLast === to) return;
      remember();
      setRange({
        first: now[newFirst],
        last: newLast === now.length - 1 && !history.hasNewer.value ? null : now[newLast],
      });
    } finally {
      state.busy = false;
    }
  };

  const onScroll = () => {
    const { scrollTop, scrollHeight, clientHeight } = scroller.current;
    const below = scrollHeight - scrollTop - clientHeight;
    state.atEnd = below < 40 && range.last === null;
    setAway(below > 400 || range.last !== null);
    if (scrollTop < NEAR_PIXELS && (first > 0 || history.hasOlder.value)) attempt(() => grow(true));
    else if (below < NEAR_PIXELS && (range.last !== null || history.hasNewer.value)) attempt(() => grow(false));
  };

  const toEnd = async () => {
    if (history.hasNewer.value) await attempt(() => history.open());
    state.atEnd = true;
    setRange(newest(history.ids.peek()));
    requestAnimationFrame(() => {
      if (scroller.current) scroller.current.scrollTop = scroller.current.scrollHeight;
    });
  };

  // Text that comes in keeps the end in sight, unless somebody reads further up.
  useEffect(() => {
    const follow = () => {
      if (state.atEnd && scroller.current) scroller.current.scrollTop = scroller.current.scrollHeight;
    };
    const observer = new ResizeObserver(follow);
    observer.observe(content.current);
    observer.observe(scroller.current);
    return () => observer.disconnect();
  }, []);

  useLayoutEffect(() => {
    const target = around && content.current.querySelector(`[data-id="${around}"]`);
    if (target) {
      target.scrollIntoView({ block: "center" });
      target.classList.add("found");
      target.tabIndex = -1;
      if (!isInUse(document.activeElement)) target.focus({ preventScroll: true });
    } else scroller.current.scrollTop = scroller.current.scrollHeight;
  }, []);

  const sent = history.pending.value;
  useLayoutEffect(() => {
    if (sent) toEnd();
  }, [sent]);

  return html`<div class="thread" ref=${scroller} onScroll=${onScroll} tabindex="0" role="log" aria-live="off" aria-label=${t("conversation.messages")}>
    <div class="thread-content" ref=${content}>
      ${(first > 0 || history.hasOlder.value) && html`<p class="older"><${Loading} /></p>`}
      ${shown.map((id) => vnodeOf(state.vnodes, id, history))}
      ${sent && html`<article class="message mine pending"><div class="bubble"><div class="plain">${sent.content}</div></div></article>`}
    </div>
    ${away && html`<button type="button" class="to-end" title=${t("conversation.toEnd")} aria-label=${t("conversation.toEnd")} onClick=${toEnd}><${Icon} name="down" /></button>`}
  </div>`;
}

const newest = (ids) => ({ first: ids.at(-FIRST) ?? ids[0] ?? null, last: null });

function startingRange(history, around) {
  const ids = history.ids.peek();
  const at = around ? ids.indexOf(around) : -1;
  if (at < 0) return newest(ids);
  const last = Math.min(ids.length - 1, at + STEP / 2);
  const isNewest = last === ids.length - 1 && !history.hasNewer.peek();
  return { first: ids[Math.max(0, at - STEP / 2)], last: isNewest ? null : ids[last] };
}

/** The same element object every time: Preact leaves the component alone then. */
function vnodeOf(vnodes, id, history) {
  if (!vnodes.has(id)) vnodes.set(id, html`<${Message} key=${id} id=${id} history=${history} />`);
  return vnodes.get(id);
}
