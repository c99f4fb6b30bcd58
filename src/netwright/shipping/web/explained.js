// What the model saw of an input after preprocessing, to be shown.

import { spectrogram } from "./fourier.js";
import { tokenNames } from "./texts.js";

const RANGE_DB = 80;
const MOST_COLUMNS = 600;
// Of a spectrogram: from silent to loud, as ink on its paper.
const TONES = [[20, 23, 27], [32, 57, 77], [0, 105, 166], [107, 184, 238], [253, 252, 250]];

function tone(share) {
  const place = Math.min(1, Math.max(0, share)) * (TONES.length - 1);
  const low = Math.min(TONES.length - 2, Math.floor(place));
  return TONES[low].map((value, band) => value + (TONES[low + 1][band] - value) * (place - low));
}

function drawn(width, height, colour) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) image.data.set([...colour(x, y), 255], 4 * (y * width + x));
  context.putImageData(image, 0, 0);
  return canvas.toDataURL("image/png");
}

function picture({ data, shape }) {
  const [bands, height, width] = shape;
  return drawn(width, height, (x, y) => [0, 1, 2].map((band) => data[(bands === 1 ? 0 : band) * height * width + y * width + x]));
}

// Columns of decibels below the loudest, the lowest pitch first.
function columnsOf({ data, shape: [frames, bands] }) {
  const loudest = data.reduce((most, value) => Math.max(most, value), -Infinity);
  const decibels = (value) => ((value - loudest) * 10) / Math.LN10;
  return Array.from({ length: frames }, (_, frame) => Array.from(data.subarray(frame * bands, (frame + 1) * bands), decibels));
}

function heard(columns) {
  const height = columns[0].length;
  return drawn(columns.length, height, (x, y) => tone(1 + columns[x][height - 1 - y] / RANGE_DB));
}

/** What was seen, as a server tells it: a picture, tokens, two lists of them; null where there is nothing to show. */
export async function seenOf(spec, sample) {
  const { fields, words } = sample;
  const of = (op) => spec.preprocess.operations.find((one) => one.op === op);
  const names = (field) => tokenNames(of("tokenise"), Array.from(field.data));
  if (words) return { tokens: words };
  if (of("tokenise")) return fields.first ? { first: names(fields.first), second: names(fields.second) } : { tokens: names(fields.tokens) };
  if (fields.sound) return { png: heard(spectrogram(fields.sound.data, of("decode_sound").sample_rate, MOST_COLUMNS)) };
  if (fields.log_mel) return { png: heard(columnsOf(fields.log_mel)) };
  const shown = Object.values(fields).find((field) => field.dtype === "uint8" && field.shape.length === 3 && [1, 3].includes(field.shape[0]));
  return shown ? { png: picture(shown) } : null;
}
