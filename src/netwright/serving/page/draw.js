// A canvas to draw on with mouse, finger, pen or keys; and the drawing as a small picture, as MNIST's digits are made.

import { el } from "./dom.js";
import { label } from "./words.js";

const SIDE = 560; // canvas pixels, for screens with two of them a CSS pixel
const PEN = 0.075; // of the side: what the person sees
const FINE = 8; // the small picture is drawn this many times larger, then averaged
// MNIST's digits fill 20 of 28 pixels, and their strokes are some 2.4 pixels wide.
const BOX = 20 / 28;
const STROKE = 0.12; // of the box
const SMALLEST = 0.12; // of the canvas: a dot is not blown up to fill the box
const KEY_STEP = 0.03;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function paint(context, strokes, place, width) {
  context.lineWidth = width;
  context.lineCap = context.lineJoin = "round";
  for (const stroke of strokes) {
    context.beginPath();
    const [first, ...rest] = stroke.map(place);
    context.moveTo(...first);
    // A stroke without length would leave no dot.
    if (!rest.length) context.lineTo(first[0] + 0.01, first[1]);
    for (const point of rest) context.lineTo(...point);
    context.stroke();
  }
}

/** Lightness 0..255 of strokes in a picture: scaled to its box, its centre of mass in the middle, as MNIST does. */
export function fitted(strokes, columns, rows, { box = BOX } = {}) {
  const points = strokes.flat();
  const [xs, ys] = [points.map((one) => one[0]), points.map((one) => one[1])];
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  const [wide, high] = [Math.max(...xs) - left, Math.max(...ys) - top];
  const inner = Math.round(Math.min(columns, rows) * box) * FINE;
  const pen = Math.max(1.2 * FINE, STROKE * inner);
  const scale = (inner - pen) / Math.max(wide, high, SMALLEST);
  const [width, height] = [columns * FINE, rows * FINE];
  const canvas = el("canvas", { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.strokeStyle = "#fff";
  const drawn = (right, down) => {
    context.clearRect(0, 0, width, height);
    const place = ([x, y]) => [
      (x - left - wide / 2) * scale + width / 2 + right,
      (y - top - high / 2) * scale + height / 2 + down,
    ];
    paint(context, strokes, place, pen);
    return context.getImageData(0, 0, width, height).data;
  };
  const first = drawn(0, 0);
  let [mass, across, along] = [0, 0, 0];
  for (let y = 0, at = 3; y < height; y++) {
    for (let x = 0; x < width; x++, at += 4) {
      mass += first[at];
      across += first[at] * x;
      along += first[at] * y;
    }
  }
  // No further than the picture's edge.
  const within = (move, room) => Math.max(-room, Math.min(room, move));
  const right = within(width / 2 - across / mass, (width - wide * scale - pen) / 2);
  const down = within(height / 2 - along / mass, (height - high * scale - pen) / 2);
  const fine = drawn(right, down);
  const pixels = new Uint8ClampedArray(columns * rows);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      let sum = 0;
      for (let y = row * FINE; y < (row + 1) * FINE; y++) {
        for (let x = column * FINE; x < (column + 1) * FINE; x++) sum += fine[(y * width + x) * 4 + 3];
      }
      pixels[row * columns + column] = Math.round(sum / (FINE * FINE));
    }
  }
  return pixels;
}

/** Grey pixels as a PNG. */
export function asPng(pixels, columns, rows, { dark = true } = {}) {
  const canvas = el("canvas", { width: columns, height: rows });
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  pixels.forEach((value, at) => image.data.set([...Array(3).fill(dark ? value : 255 - value), 255], at * 4));
  context.putImageData(image, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

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
