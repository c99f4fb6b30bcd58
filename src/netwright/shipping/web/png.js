// PNG files as Pillow reads them, with any depth, palette, interlacing and transparency; without a canvas, whose pixels
// lose precision where they are transparent.

import { inflate } from "./bytes.js";

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const CHANNELS = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
// Adam7: where each pass begins and how far its pixels are apart.
const PASSES = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];
const WHOLE = [[0, 0, 1, 1]];

const CRC = Uint32Array.from({ length: 256 }, (_, at) => {
  let value = at;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value >>> 0;
});

function crcOf(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = (value >>> 8) ^ CRC[(value ^ byte) & 255];
  return ~value >>> 0;
}

/** Whether bytes begin as a PNG. */
export const isPng = (bytes) => SIGNATURE.every((byte, at) => bytes[at] === byte);

function chunksOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = { parts: [] };
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (at + 12 + length > bytes.length) throw new Error("image file is truncated");
    const content = bytes.subarray(at + 8, at + 8 + length);
    if (name[0] < "a" && crcOf(bytes.subarray(at + 4, at + 8 + length)) !== view.getUint32(at + 8 + length)) {
      throw new Error(`broken PNG file (bad header checksum in '${name}')`);
    }
    if (name === "IDAT") found.parts.push(content);
    else if (name === "IEND") break;
    else found[name] ??= content;
    at += 12 + length;
  }
  if (!found.IHDR || found.IHDR.length !== 13) throw new Error("Truncated IHDR chunk");
  return found;
}

function unfilter(data, at, rows, stride, step) {
  let before = new Uint8Array(stride);
  const lines = [];
  for (let row = 0; row < rows; row++, at += stride + 1) {
    if (at + 1 + stride > data.length) throw new Error("image file is truncated");
    const line = data.slice(at + 1, at + 1 + stride);
    const kind = data[at];
    for (let x = 0; x < stride; x++) {
      const left = x >= step ? line[x - step] : 0;
      const up = before[x];
      const corner = x >= step ? before[x - step] : 0;
      if (kind === 1) line[x] += left;
      else if (kind === 2) line[x] += up;
      else if (kind === 3) line[x] += (left + up) >> 1;
      else if (kind === 4) {
        const [a, b, c] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
        line[x] += a <= b && a <= c ? left : b <= c ? up : corner;
      } else if (kind !== 0) throw new Error("broken PNG file");
    }
    lines.push(line);
    before = line;
  }
  return [lines, at];
}

/** Width and height that a PNG's header promises. */
export function pngSize(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return bytes.length < 24 ? [0, 0] : [view.getUint32(16), view.getUint32(20)];
}

/**
 * A PNG as samples of its channels.
 *
 * @returns {{width, height, depth, type, channels, samples: Uint16Array, palette, transparent, exif}}
 */
export async function decodePng(bytes) {
  const chunks = chunksOf(bytes);
  const [width, height] = pngSize(bytes);
  const [depth, type, , , interlaced] = chunks.IHDR.subarray(8);
  const channels = CHANNELS[type];
  if (!width || !height || !channels || ![1, 2, 4, 8, 16].includes(depth)) throw new Error("broken PNG file");
  const packed = new Uint8Array(chunks.parts.reduce((sum, part) => sum + part.length, 0));
  chunks.parts.reduce((at, part) => (packed.set(part, at), at + part.length), 0);
  const data = await inflate(packed, "deflate");
  const samples = new Uint16Array(width * height * channels);
  const step = Math.max(1, (depth * channels) >> 3);
  let at = 0;
  for (const [left, top, across, down] of interlaced ? PASSES : WHOLE) {
    const [columns, rows] = [Math.ceil((width - left) / across), Math.ceil((height - top) / down)];
    if (columns <= 0 || rows <= 0) continue;
    let lines;
    [lines, at] = unfilter(data, at, rows, Math.ceil((columns * channels * depth) / 8), step);
    lines.forEach((line, row) => {
      for (let column = 0; column < columns; column++) {
        const place = ((top + row * down) * width + left + column * across) * channels;
        for (let channel = 0; channel < channels; channel++) {
          const index = column * channels + channel;
          if (depth === 8) samples[place + channel] = line[index];
          else if (depth === 16) samples[place + channel] = (line[2 * index] << 8) | line[2 * index + 1];
          else {
            const bit = index * depth;
            samples[place + channel] = (line[bit >> 3] >> (8 - depth - (bit & 7))) & ((1 << depth) - 1);
          }
        }
      }
    });
  }
  return { width, height, depth, type, channels, samples, palette: chunks.PLTE, transparent: chunks.tRNS, exif: chunks.eXIf };
}
