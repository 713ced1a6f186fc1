// What components are written with: htm's template, Preact's hooks, signals.

import htm from "../vendor/htm.mjs";
import { h } from "../vendor/preact.mjs";

export { Fragment, render } from "../vendor/preact.mjs";
export {
  useCallback,
  useEffect,
  useId,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from "../vendor/hooks.mjs";
export { batch, computed, effect, signal, useComputed, useSignal } from "../vendor/signals.mjs";

export const html = htm.bind(h);
