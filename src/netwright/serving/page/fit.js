// A picture as small as the model takes it: drawings and digits centred as MNIST's are, other pictures scaled.

import { el } from "./dom.js";
import { sampleBlob } from "./files.js";

const FINE = 8; // the small picture is made this many times larger, then averaged
// MNIST's digits fill 20 of 28 pixels, and their strokes are some 2.4 pixels wide.
const BOX = 20 / 28;
const STROKE = 0.12; // of the box
const SMALLEST = 0.12; // of the canvas: a dot is not blown up to fill the box
const LOOKED_AT = 256; // pixels of a photo's longer side in which its digit is looked for
const PAPER = 0.35; // of the ink's full strength: what is fainter is the paper's shade

const png = (canvas) => new Promise((resolve) => canvas.toBlob(resolve, "image/png"));

/** Draw strokes, each a list of points that `place` puts on the canvas. */
export function paint(context, strokes, place, width) {
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

// What `draw(context, right, down)` leaves on a canvas, with its centre of mass in the middle, as lightness 0..255.
function centred(draw, columns, rows, [across, along]) {
  const [width, height] = [columns * FINE, rows * FINE];
  const context = el("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
  context.strokeStyle = "#fff";
  const drawn = (right, down) => {
    context.clearRect(0, 0, width, height);
    draw(context, right, down);
    return context.getImageData(0, 0, width, height).data;
  };
  const first = drawn(0, 0);
  let [mass, sideways, downwards] = [0, 0, 0];
  for (let y = 0, at = 3; y < height; y++) {
    for (let x = 0; x < width; x++, at += 4) {
      mass += first[at];
      sideways += first[at] * x;
      downwards += first[at] * y;
    }
  }
  // No further than the picture's edge.
  const within = (move, room) => Math.max(-Math.max(0, room), Math.min(Math.max(0, room), move));
  const right = within(width / 2 - sideways / mass, (width - across) / 2);
  const down = within(height / 2 - downwards / mass, (height - along) / 2);
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

/** Strokes on the unit square as a small picture's lightness, 0..255. */
export function fitted(strokes, columns, rows, { box = BOX } = {}) {
  const points = strokes.flat();
  const [xs, ys] = [points.map((one) => one[0]), points.map((one) => one[1])];
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  const [wide, high] = [Math.max(...xs) - left, Math.max(...ys) - top];
  const inner = Math.round(Math.min(columns, rows) * box) * FINE;
  const pen = Math.max(1.2 * FINE, STROKE * inner);
  const scale = (inner - pen) / Math.max(wide, high, SMALLEST);
  const draw = (context, right, down) => {
    const place = ([x, y]) => [
      (x - left - wide / 2) * scale + (columns * FINE) / 2 + right,
      (y - top - high / 2) * scale + (rows * FINE) / 2 + down,
    ];
    paint(context, strokes, place, pen);
  };
  return centred(draw, columns, rows, [wide * scale + pen, high * scale + pen]);
}

/** Grey pixels as a PNG; `dark` where they are light on dark. */
export function asPng(pixels, columns, rows, { dark = true } = {}) {
  const canvas = el("canvas", { width: columns, height: rows });
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  pixels.forEach((value, at) => image.data.set([...Array(3).fill(dark ? value : 255 - value), 255], at * 4));
  context.putImageData(image, 0, 0);
  return png(canvas);
}

function grey(bitmap, width, height) {
  const context = el("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  return Float32Array.from({ length: width * height }, (_, at) => {
    const [red, green, blue] = data.subarray(4 * at, 4 * at + 3);
    return 0.299 * red + 0.587 * green + 0.114 * blue;
  });
}

const middle = (values) => Float32Array.from(values).sort()[values.length >> 1];

// Lightness around a picture, which is that of the paper.
function paper(levels, width, height) {
  return middle(
    levels.filter((_, at) => at % width === 0 || at % width === width - 1 || at < width || at >= width * (height - 1)),
  );
}

// Where something is that `is(level)`: left, top, width, height; null where nothing is.
function boundsOf(levels, width, is) {
  const at = [...levels.keys()].filter((one) => is(levels[one]));
  if (!at.length) return null;
  const [xs, ys] = [at.map((one) => one % width), at.map((one) => Math.floor(one / width))];
  const least = (all) => all.reduce((a, b) => Math.min(a, b));
  const most = (all) => all.reduce((a, b) => Math.max(a, b));
  return [least(xs), least(ys), most(xs) - least(xs) + 1, most(ys) - least(ys) + 1];
}

/** What the samples tell: whether they are light on dark, and how much of the picture they fill. */
export async function habits(samples, columns, rows) {
  const [edges, shares] = [[], []];
  for (const sample of samples) {
    try {
      const levels = grey(await createImageBitmap(sampleBlob(sample, "image/png")), columns, rows);
      edges.push(paper(levels, columns, rows));
      const bounds = boundsOf(levels, columns, (level) => Math.abs(level - edges.at(-1)) > 64);
      if (bounds) shares.push(Math.max(bounds[2] / columns, bounds[3] / rows));
    } catch {
      // A sample that the browser cannot show teaches nothing.
    }
  }
  const mean = (values, otherwise) =>
    values.length ? values.reduce((sum, one) => sum + one, 0) / values.length : otherwise;
  return { dark: mean(edges, 0) < 128, box: Math.min(1, Math.max(0.5, mean(shares, BOX))) };
}

// The ink of a photographed digit, by its difference from the paper, fitted as a drawn one is.
function fittedInk(levels, width, height, columns, rows, { box, dark }) {
  const ground = paper(levels, width, height);
  const most = levels.reduce((a, b) => Math.max(a, Math.abs(b - ground)), 1);
  const ink = levels.map((level) => Math.max(0, (Math.abs(level - ground) / most - PAPER) / (1 - PAPER)));
  const bounds = boundsOf(ink, width, (level) => level > 0.2);
  const source = el("canvas", { width, height });
  const context = source.getContext("2d");
  const image = context.createImageData(width, height);
  ink.forEach((level, at) => image.data.set([255, 255, 255, Math.min(255, 400 * level)], 4 * at));
  context.putImageData(image, 0, 0);
  const [left, top, wide, high] = bounds ?? [0, 0, width, height];
  const scale = (Math.round(Math.min(columns, rows) * box) * FINE) / Math.max(wide, high);
  const [across, along] = [wide * scale, high * scale];
  const draw = (on, right, down) => {
    on.imageSmoothingQuality = "high";
    on.drawImage(
      source,
      left,
      top,
      wide,
      high,
      (columns * FINE - across) / 2 + right,
      (rows * FINE - along) / 2 + down,
      across,
      along,
    );
  };
  return asPng(centred(draw, columns, rows, [across, along]), columns, rows, { dark });
}

/**
 * A picture of another size as the model takes it, a PNG; one of its size, or that the browser cannot read, as it is.
 *
 * @param habit What the samples tell; null for pictures in colour, which are scaled and no more.
 * @param digits Whether it is of a digit.
 */
export async function asTaken(blob, columns, rows, { habit = null, digits = false } = {}) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch {
    return blob;
  }
  if (bitmap.width === columns && bitmap.height === rows) return blob;
  let found;
  if (habit) {
    const shrink = Math.min(1, LOOKED_AT / Math.max(bitmap.width, bitmap.height));
    const size = [bitmap.width, bitmap.height].map((one) => Math.max(1, Math.round(one * shrink)));
    const levels = grey(bitmap, ...size);
    if (digits) found = await fittedInk(levels, ...size, columns, rows, habit);
    else {
      // Dark on light where the data are light on dark.
      const turned = paper(levels, ...size) < 128 !== habit.dark;
      found = await asPng(
        grey(bitmap, columns, rows).map((level) => (turned ? 255 - level : level)),
        columns,
        rows,
      );
    }
  } else {
    const canvas = el("canvas", { width: columns, height: rows });
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, columns, rows);
    found = await png(canvas);
  }
  return new File([found], "picture.png", { type: "image/png" });
}
