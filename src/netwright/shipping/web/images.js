// Pictures as the training data were stored: upright, flattened on black, grey or colour, resized as Pillow does.

import { decodePng, isPng, pngSize } from "./png.js";
import { InputError } from "./python.js";
import { resize } from "./resize.js";

const MAX_PIXELS = 89_478_485; // Pillow's limit
const CURE = "Replace or remove it, or convert it to PNG.";

const unreadable = (reason) => new InputError("image", "an image that can be read", reason, CURE);

/** Pillow's grey of red, green and blue. */
const grey = (r, g, b) => (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16;

// Pillow's alpha_composite on opaque black.
function onBlack(value, alpha) {
  if (alpha === 0) return 0;
  const shifted = value * alpha * 128 + 0x4000;
  return (((shifted >> 8) + shifted) >> 8) >> 7;
}

// The bytes of red, green, blue and alpha of each pixel; alpha is null where the file has none.
function coloursOf(png) {
  const { depth, type, channels, samples, palette, transparent } = png;
  const count = png.width * png.height;
  const colours = new Uint8Array(count * 3);
  // Of 16 bits of grey Pillow keeps the transparency for none.
  const seeThrough = type >= 4 || (transparent && !(type === 0 && depth === 16));
  const alpha = seeThrough ? new Uint8Array(count).fill(255) : null;
  const word = (at) => (transparent[at] << 8) | transparent[at + 1];
  const to8 = (value) => (depth === 16 ? value >> 8 : value);
  for (let at = 0; at < count; at++) {
    const from = at * channels;
    if (type === 3) {
      const index = samples[from];
      for (let band = 0; band < 3; band++) colours[3 * at + band] = palette?.[3 * index + band] ?? 0;
      if (alpha) alpha[at] = transparent[index] ?? 255;
    } else if (type === 0) {
      const raw = samples[from];
      // 16 bits to 8 by rounding, to even where it lies between.
      const value = depth === 16 ? Math.round(raw / 257) : raw * (255 / ((1 << depth) - 1));
      colours.fill(value, 3 * at, 3 * at + 3);
      if (alpha) alpha[at] = value === (depth === 1 ? (word(0) ? 255 : 0) : word(0)) ? 0 : 255;
    } else {
      const bands = type === 4 ? [0, 0, 0] : [0, 1, 2];
      bands.forEach((band, place) => (colours[3 * at + place] = to8(samples[from + band])));
      if (type >= 4) alpha[at] = to8(samples[from + channels - 1]);
      else if (alpha) alpha[at] = [0, 1, 2].every((band) => colours[3 * at + band] === word(2 * band)) ? 0 : 255;
    }
  }
  return { width: png.width, height: png.height, colours, alpha };
}

// The orientation that an EXIF block names, 1 to 8.
function orientationOf(exif) {
  if (!exif || exif.length < 14) return 1;
  const view = new DataView(exif.buffer, exif.byteOffset, exif.byteLength);
  const little = view.getUint16(0) === 0x4949;
  const first = view.getUint32(4, little);
  if (first + 2 > exif.length) return 1;
  const entries = view.getUint16(first, little);
  for (let at = first + 2, index = 0; index < entries && at + 12 <= exif.length; index++, at += 12) {
    if (view.getUint16(at, little) === 0x0112) return view.getUint16(at + 8, little);
  }
  return 1;
}

function upright(image, orientation) {
  if (!(orientation >= 2 && orientation <= 8)) return image;
  const { width, height } = image;
  const turned = orientation >= 5;
  const [columns, rows] = turned ? [height, width] : [width, height];
  const places = new Uint32Array(columns * rows);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const [right, bottom] = [width - 1, height - 1];
      const from = {
        2: [right - x, y], 3: [right - x, bottom - y], 4: [x, bottom - y], 5: [y, x],
        6: [y, bottom - x], 7: [right - y, bottom - x], 8: [right - y, x],
      }[orientation];
      places[y * columns + x] = from[1] * width + from[0];
    }
  }
  const colours = new Uint8Array(image.colours.length);
  places.forEach((from, to) => colours.set(image.colours.subarray(3 * from, 3 * from + 3), 3 * to));
  return { width: columns, height: rows, colours, alpha: image.alpha && Uint8Array.from(places, (from) => image.alpha[from]) };
}

// Any other format is the browser's to read: upright, its colours as they are stored.
async function byBrowser(bytes) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image" };
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes]), options);
  } catch (error) {
    throw unreadable(`no picture that this browser reads (${error.message})`);
  }
  const { width, height } = bitmap;
  if (width * height > MAX_PIXELS) throw unreadable(`${width} x ${height} pixels, more than ${MAX_PIXELS}: a decompression bomb`);
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const colours = new Uint8Array(width * height * 3);
  const alpha = new Uint8Array(width * height);
  for (let at = 0; at < alpha.length; at++) {
    colours.set(data.subarray(4 * at, 4 * at + 3), 3 * at);
    alpha[at] = data[4 * at + 3];
  }
  return { width, height, colours, alpha: alpha.every((one) => one === 255) ? null : alpha };
}

async function read(bytes) {
  if (!bytes.length) throw unreadable("0 bytes");
  if (!isPng(bytes)) return byBrowser(bytes);
  const [width, height] = pngSize(bytes);
  if (width * height > MAX_PIXELS) throw unreadable(`${width} x ${height} pixels, more than ${MAX_PIXELS}: a decompression bomb`);
  try {
    const png = await decodePng(bytes);
    return upright(coloursOf(png), orientationOf(png.exif));
  } catch (error) {
    throw error instanceof InputError ? error : unreadable(error.message);
  }
}

// Pixels given as numbers, (H, W), (H, W, C) or (C, H, W).
function fromNumbers(rows) {
  const shape = [];
  for (let one = rows; Array.isArray(one); one = one[0]) shape.push(one.length);
  const flat = rows.flat(Infinity);
  const refused = () => new InputError("image", "a uint8 array (H, W), (H, W, C) or (C, H, W)", `(${shape.join(", ")})`, "Give the pixels as 0 to 255, uint8.");
  if (flat.length !== shape.reduce((a, b) => a * b, 1) || !flat.every((one) => Number.isInteger(one) && one >= 0 && one <= 255)) throw refused();
  const few = (size) => [1, 3, 4].includes(size);
  const first = shape.length === 3 && few(shape[0]) && !few(shape[2]);
  const [height, width, bands] = shape.length === 2 ? [...shape, 1] : first ? [shape[1], shape[2], shape[0]] : shape;
  if (shape.length < 2 || shape.length > 3 || !few(bands)) throw refused();
  const count = width * height;
  const value = (at, band) => (first ? flat[band * count + at] : flat[at * bands + band]);
  const colours = new Uint8Array(count * 3);
  for (let at = 0; at < count; at++) for (let band = 0; band < 3; band++) colours[3 * at + band] = value(at, bands === 1 ? 0 : band);
  return { width, height, colours, alpha: bands === 4 ? Uint8Array.from({ length: count }, (_, at) => value(at, 3)) : null };
}

// Planes of a picture: one of grey, or three of colour.
function flatten({ width, height, colours, alpha }, mode) {
  const count = width * height;
  const planes = Array.from({ length: mode === "L" ? 1 : 3 }, () => new Uint8Array(count));
  for (let at = 0; at < count; at++) {
    let [r, g, b] = [colours[3 * at], colours[3 * at + 1], colours[3 * at + 2]];
    if (alpha) [r, g, b] = [r, g, b].map((value) => onBlack(value, alpha[at]));
    if (mode === "L") planes[0][at] = grey(r, g, b);
    else [planes[0][at], planes[1][at], planes[2][at]] = [r, g, b];
  }
  return { width, height, planes };
}

/**
 * A picture as uint8 (C, H, W), by the operations of its preprocessing.
 *
 * @param {object[]} operations - those of kind decode_image and resize, in order.
 * @param {Uint8Array | number[]} raw - a file's bytes, or pixels.
 * @param {{downFirst: boolean}} habits - of the Pillow that the model was trained with.
 */
export async function decodePicture(operations, raw, habits = {}) {
  const image = raw instanceof Uint8Array ? await read(raw) : fromNumbers(raw);
  const decode = operations.find((one) => one.op === "decode_image");
  let found = flatten(image, decode?.mode ?? "RGB");
  for (const one of operations) {
    if (one.op !== "resize" || (found.width === one.width && found.height === one.height)) continue;
    const planes = found.planes.map((plane) => resize(plane, found.width, found.height, one.width, one.height, habits));
    found = { width: one.width, height: one.height, planes };
  }
  const data = new Uint8Array(found.planes.length * found.width * found.height);
  found.planes.forEach((plane, at) => data.set(plane, at * plane.length));
  return { dtype: "uint8", shape: [found.planes.length, found.height, found.width], data };
}
