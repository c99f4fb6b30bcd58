// One raw input as the fields that a model takes, in a batch of one.

import { fromBase64 } from "./bytes.js";
import { decodePicture } from "./images.js";
import { InputError } from "./python.js";
import { encodeRow, rowFields, slug } from "./rows.js";
import { historyFields, recordingFields } from "./series.js";
import { logMel } from "./log_mel.js";
import { decodeSound } from "./sounds.js";
import { lookUp, sentence } from "./tags.js";
import { tokenise, twoTexts } from "./texts.js";

// Fields with the positions of another one, in whose lengths and mask theirs stand.
const ALONG = { characters: "tokens", shapes: "tokens", segments: "tokens" };
const ARRAYS = { float32: Float32Array, float64: Float64Array, int32: Int32Array, uint8: Uint8Array, int16: Int16Array, int8: Int8Array };

const operation = (preprocess, op) => preprocess.operations.find((one) => one.op === op);
const decoding = (preprocess) => preprocess.operations.filter((one) => one.op === "decode_image" || one.op === "resize");
const ids = (tokens) => ({ dtype: "int32", shape: [tokens.length], data: tokens });

/** A file in a JSON input: a data URI, base64, {"base64": …}; bytes and Blobs as they are; else null. */
export async function bytesOf(raw) {
  if (raw instanceof Uint8Array) return raw;
  if (raw instanceof Blob) return new Uint8Array(await raw.arrayBuffer());
  const text = typeof raw === "string" ? raw : raw?.base64 ?? raw?.data ?? raw?.image ?? raw?.sound;
  if (typeof text !== "string") return null;
  try {
    return fromBase64(text);
  } catch {
    throw new InputError("input", "a file, or its bytes as base64", "a text that is none", "Choose a file.");
  }
}

async function picture(preprocess, raw, habits) {
  const bytes = await bytesOf(raw);
  return decodePicture(decoding(preprocess), bytes ?? raw, habits);
}

function pairFields(preprocess, pair, raw) {
  const text = operation(preprocess, "tokenise");
  const [first, second] = twoTexts(pair, raw).map((one) => tokenise(text, one));
  const between = pair.separator === null || pair.separator === undefined ? [] : [pair.separator];
  const tokens = [...first, ...between, ...second];
  const segments = tokens.map((_, at) => (at >= first.length + between.length ? 1 : 0));
  return { first: ids(first), second: ids(second), tokens: ids(tokens), segments: ids(segments) };
}

async function row({ preprocess, pillow }, rows, raw) {
  const numbers = encodeRow(rows, raw);
  const found = rows.columns.length ? rowFields(rows, numbers) : {};
  for (const [field, own] of Object.entries(preprocess.fields ?? {})) {
    const cell = Object.entries(raw).find(([name]) => slug(name) === field)?.[1];
    if (cell === undefined || cell === null || cell === "") throw new InputError("input", `a picture in ${field}`, "none", "Choose one.");
    found[field] = await picture(own, cell, pillow);
  }
  return found;
}

// An array as it was stored in training.
function stored(value, field) {
  const shape = [];
  for (let one = value; Array.isArray(one); one = one[0]) shape.push(one.length);
  const flat = [value].flat(Infinity);
  const whole = !field.dtype.startsWith("float");
  const number = (one) => typeof one === "number" || typeof one === "boolean";
  if (!flat.every(number) || (whole && !flat.every((one) => Number.isInteger(Number(one))))) {
    throw new InputError(`input \`${field.name}\``, `${field.dtype} numbers`, "others", "Convert them.");
  }
  const wanted = field.shape;
  if (shape.length !== wanted.length || flat.length !== shape.reduce((a, b) => a * b, 1) || shape.some((size, at) => wanted[at] >= 0 && wanted[at] !== size)) {
    throw new InputError(`input \`${field.name}\``, `shape (${wanted.join(", ")})`, `(${shape.join(", ")})`, "Shape it as in training, without the batch.");
  }
  return { dtype: field.dtype, shape, data: flat.map(Number) };
}

async function tensors(spec, raw) {
  const names = spec.fields.map((field) => field.name);
  let parts = raw;
  if (raw === null || typeof raw !== "object" || Array.isArray(raw) || raw instanceof Blob || raw instanceof Uint8Array || (names.length === 1 && !(names[0] in raw))) {
    const values = names.length > 1 && Array.isArray(raw) ? raw : [raw];
    parts = Object.fromEntries(names.map((name, at) => [name, values[at]]));
  }
  const found = {};
  for (const field of spec.fields) {
    const value = parts[field.name];
    if (value === undefined) throw new InputError("input", `the fields ${names.join(", ")}`, Object.keys(parts).join(", ") || "none", "Give each.");
    const own = spec.preprocess.fields?.[field.name] ?? spec.preprocess;
    found[field.name] = decoding(own).length ? await picture(own, value, spec.pillow) : stored(value, field);
  }
  return found;
}

/** One raw input by field, as the training data were stored, without a batch; with `words` where these are tagged. */
export async function sampleOf(spec, raw) {
  const { preprocess } = spec;
  const of = (op) => operation(preprocess, op);
  if (of("words")) {
    const words = sentence(of("words"), raw);
    return { fields: lookUp(of("words"), words), words };
  }
  if (of("tokenise") && of("pair")) return { fields: pairFields(preprocess, of("pair"), raw) };
  if (of("tokenise")) return { fields: { tokens: ids(tokenise(of("tokenise"), raw)) } };
  if (of("window_series")) return { fields: historyFields(of("window_series"), raw) };
  if (of("read_recording")) return { fields: recordingFields(of("read_recording"), raw) };
  if (of("encode_rows")) return { fields: await row(spec, of("encode_rows"), raw) };
  if (of("decode_sound")) {
    const sound = await decodeSound(of("decode_sound"), (await bytesOf(raw)) ?? raw);
    return { fields: of("log_mel") ? { log_mel: logMel(of("log_mel"), sound) } : { sound } };
  }
  return { fields: await tensors(spec, raw) };
}

// Fields of which each sample has as many positions as it has; one that has none is padded to one.
function padded(field) {
  const length = field.shape[0];
  if (length) return { ...field, shape: [1, ...field.shape] };
  const shape = [1, 1, ...field.shape.slice(1)];
  return { ...field, shape, data: new Array(shape.reduce((a, b) => a * b, 1)).fill(0) };
}

/** A sample as a batch of one, with lengths and masks of what varies in length. */
export function batchOf(spec, fields) {
  const named = new Map(spec.fields.map((field) => [field.name, field]));
  const varies = Object.keys(fields).filter((name) => named.get(name)?.shape[0] === -1);
  const batch = {};
  for (const [name, field] of Object.entries(fields)) {
    if (!varies.includes(name)) {
      batch[name] = { ...field, shape: [1, ...field.shape] };
      continue;
    }
    batch[name] = padded(field);
    if (varies.includes(ALONG[name])) continue;
    const length = field.shape[0];
    const prefix = varies.length === 1 || name === "tokens" ? "" : `${name}_`;
    batch[`${prefix}lengths`] = { dtype: "int64", shape: [1], data: [length] };
    batch[`${prefix}mask`] = { dtype: "bool", shape: [1, Math.max(1, length)], data: new Uint8Array(Math.max(1, length)).fill(length ? 1 : 0) };
  }
  return batch;
}

/** Numbers in the type that a model's input has. */
export function typed(data, dtype) {
  if (dtype === "int64") return BigInt64Array.from(data, (value) => BigInt(value));
  if (dtype === "bool") return Uint8Array.from(data, Number);
  if (data instanceof ARRAYS[dtype]) return data;
  return ARRAYS[dtype].from(data);
}
