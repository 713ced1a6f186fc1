// Small line drawings; each is hidden from screen readers, the button beside it has the name.

import { html } from "./html.js";

const PATHS = {
  chat: "M4 5h16v11H9l-5 4z",
  plans: "M6 3h9l4 4v14H6zM14 3v5h5M9 12h7M9 16h7",
  usage: "M4 20V4M4 20h16M8 16v-4M12 16V8M16 16v-6",
  source: "M9 7l-5 5 5 5M15 7l5 5-5 5",
  keys: "M15 4a5 5 0 1 1-4 8L4 19v2h3v-2h2v-2h2l2-2M16 8h.01",
  status: "M3 12h4l3-8 4 16 3-8h4",
  plus: "M12 5v14M5 12h14",
  search: "M11 5a6 6 0 1 1 0 12 6 6 0 0 1 0-12zM16 16l4 4",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  send: "M5 12h14M13 6l6 6-6 6",
  stop: "M7 7h10v10H7z",
  copy: "M9 9h10v10H9zM5 15V5h10",
  check: "M5 13l4 4L19 7",
  save: "M12 4v11M7 11l5 5 5-5M5 20h14",
  upload: "M12 16V5M7 9l5-5 5 5M5 20h14",
  edit: "M5 19l1-4L16 5l3 3L9 18zM14 7l3 3",
  again: "M19 6v5h-5M19 11a7 7 0 1 0-2 6",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  fork: "M6 4v16M6 14c0-5 12-2 12-8M18 4v3",
  history: "M12 7v5l3 2M4 12a8 8 0 1 0 3-6M4 4v4h4",
  attach: "M8 12l6-6a3 3 0 0 1 5 4l-8 8a5 5 0 0 1-7-7l7-7",
  settings: "M4 7h10M18 7h2M4 17h2M10 17h10M14 4v6M6 14v6",
  archive: "M4 5h16v4H4zM6 9v11h12V9M10 13h4",
  back: "M15 5l-7 7 7 7",
  down: "M6 9l6 6 6-6",
  close: "M6 6l12 12M18 6L6 18",
  folder: "M3 6h6l2 3h10v10H3z",
  file: "M6 3h9l4 4v14H6zM14 3v5h5",
  user: "M12 4a4 4 0 1 1 0 8 4 4 0 0 1 0-8zM4 21c0-5 4-7 8-7s8 2 8 7",
  warning: "M12 4l9 16H3zM12 10v4M12 17h.01",
  tool: "M14 6a4 4 0 0 0 4 5l-9 9-3-3 9-9a4 4 0 0 1-1-2z",
  thought: "M12 3v3M5 6l2 2M19 6l-2 2M8 13a4 4 0 1 1 8 0c0 2-2 2-2 4h-4c0-2-2-2-2-4M10 20h4",
  picture: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15 9h.01",
  external: "M10 5H5v14h14v-5M13 4h7v7M20 4l-9 9",
  theme: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  leave: "M10 5H5v14h5M9 12h11M16 8l4 4-4 4",
  tag: "M4 4h8l8 8-8 8-8-8zM8 8h.01",
};

export function Icon({ name }) {
  return html`<svg class=${`icon icon-${name}`} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
    <path d=${PATHS[name]} />
  </svg>`;
}
