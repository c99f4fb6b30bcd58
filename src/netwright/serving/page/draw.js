// A canvas to draw on with mouse, finger, pen or keys.

import { el } from "./dom.js";
import { paint } from "./fit.js";
import { label } from "./words.js";

const SIDE = 560; // canvas pixels, for screens with two of them a CSS pixel
const PEN = 0.075; // of the side: what the person sees
const KEY_STEP = 0.03;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** The canvas. `changed(strokes, done)` is told of each stroke: also while it is drawn, `done` being false. */
export function drawing(changed, { dark = true } = {}) {
  const canvas = el("canvas", {
    width: SIDE,
    height: SIDE,
    class: dark ? "board" : "board light",
    tabindex: 0,
    role: "application",
  });
  label(canvas, "aria-label", "draw_label");
  const context = canvas.getContext("2d");
  let strokes = [];
  let current = null;
  let cursor = null; // of the keys: where the pen is, and whether it is down
  const redraw = () => {
    context.clearRect(0, 0, SIDE, SIDE);
    context.strokeStyle = dark ? "#fff" : "#111";
    paint(context, strokes, ([x, y]) => [x * SIDE, y * SIDE], PEN * SIDE);
    if (cursor && document.activeElement === canvas) {
      context.fillStyle = cursor.down ? "#f0a04b" : "#6bb8ee";
      context.beginPath();
      context.arc(cursor.x * SIDE, cursor.y * SIDE, 12, 0, 2 * Math.PI);
      context.fill();
    }
    canvas.classList.toggle("empty", !strokes.length);
  };
  const placeOf = (event) => {
    const around = canvas.getBoundingClientRect();
    return [(event.clientX - around.left) / around.width, (event.clientY - around.top) / around.height];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    cursor = null;
    current = [placeOf(event)];
    strokes.push(current);
    redraw();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!current) return;
    const several = event.getCoalescedEvents?.() ?? [];
    current.push(...(several.length ? several : [event]).map(placeOf));
    redraw();
    changed(strokes, false);
  });
  const end = () => {
    if (!current) return;
    current = null;
    changed(strokes, true);
  };
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);
  canvas.addEventListener("keydown", (event) => {
    cursor ??= { x: 0.5, y: 0.3, down: false };
    if (event.key === " ") {
      cursor.down = !cursor.down;
      if (cursor.down) strokes.push([[cursor.x, cursor.y]]);
      else changed(strokes, true);
    } else if (event.key in ARROWS) {
      const [right, down] = ARROWS[event.key];
      cursor.x = Math.min(1, Math.max(0, cursor.x + right * KEY_STEP));
      cursor.y = Math.min(1, Math.max(0, cursor.y + down * KEY_STEP));
      if (cursor.down) strokes.at(-1).push([cursor.x, cursor.y]);
      if (cursor.down) changed(strokes, false);
    } else {
      return;
    }
    event.preventDefault();
    redraw();
  });
  canvas.addEventListener("blur", redraw);
  redraw();
  const set = (next) => {
    strokes = next;
    cursor = null;
    redraw();
  };
  return {
    element: canvas,
    clear: () => set([]),
    undo: () => {
      set(strokes.slice(0, -1));
      changed(strokes, true);
    },
  };
}
