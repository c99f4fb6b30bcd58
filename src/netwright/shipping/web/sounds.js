// Sounds as the training data were stored: one channel, one rate, 16 bits.

import { InputError } from "./python.js";
import { resample } from "./resample.js";

const FULL_SCALE = 32_768;
const [LOWEST_RATE, HIGHEST_RATE] = [1_000, 768_000];
const [PCM, FLOAT, A_LAW, MU_LAW, EXTENSIBLE] = [1, 3, 6, 7, 0xfffe];

const unreadable = (reason) =>
  new InputError("sound", "a sound that can be read", reason, "Replace or remove it, or convert it: ffmpeg -i FILE -ac 1 FILE.wav.");

const text = (bytes, at, length) => String.fromCharCode(...bytes.subarray(at, at + length));

// A byte of a telephone's logarithmic scale as 16 bits. Source: ITU-T G.711.
function aLaw(byte) {
  const code = byte ^ 0x55;
  const [step, segment] = [(code & 15) << 4, (code >> 4) & 7];
  const size = segment ? (step + 0x108) << (segment - 1) : step + 8;
  return code & 0x80 ? size : -size;
}

function muLaw(byte) {
  const code = ~byte & 255;
  const size = ((((code & 15) << 3) + 0x84) << ((code >> 4) & 7)) - 0x84;
  return code & 0x80 ? -size : size;
}

// How a sample of a WAV file becomes a number with full scale at 1; null of forms that are not read here.
function readerOf(format, bits) {
  if (format === PCM && bits === 8) return (view, at) => (view.getUint8(at) - 128) / 128;
  if (format === PCM && bits === 16) return (view, at) => view.getInt16(at, true) / FULL_SCALE;
  if (format === PCM && bits === 24) return (view, at) => ((view.getUint8(at) << 8) | (view.getInt16(at + 1, true) << 16)) / 2 ** 31;
  if (format === PCM && bits === 32) return (view, at) => Math.fround(view.getInt32(at, true)) / 2 ** 31;
  if (format === FLOAT && bits === 32) return (view, at) => view.getFloat32(at, true);
  if (format === FLOAT && bits === 64) return (view, at) => Math.fround(view.getFloat64(at, true));
  if (format === A_LAW && bits === 8) return (view, at) => aLaw(view.getUint8(at)) / FULL_SCALE;
  if (format === MU_LAW && bits === 8) return (view, at) => muLaw(view.getUint8(at)) / FULL_SCALE;
  return null;
}

/** A WAV file's samples; null where it is no WAV file, or of a form that only a browser's decoder reads. */
export function readWav(bytes) {
  if (text(bytes, 0, 4) !== "RIFF" || text(bytes, 8, 4) !== "WAVE") return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let about = null;
  for (let at = 12; at + 8 <= bytes.length; ) {
    const [name, size] = [text(bytes, at, 4), view.getUint32(at + 4, true)];
    const begin = at + 8;
    if (name === "fmt " && begin + 16 <= bytes.length) {
      const format = view.getUint16(begin, true);
      about = {
        format: format === EXTENSIBLE && size >= 26 ? view.getUint16(begin + 24, true) : format,
        channels: view.getUint16(begin + 2, true),
        rate: view.getUint32(begin + 4, true),
        bits: view.getUint16(begin + 14, true),
      };
    } else if (name === "data" && about) {
      const width = about.bits >> 3;
      const read = readerOf(about.format, about.bits);
      if (!read) return null;
      if (about.rate < LOWEST_RATE || about.rate > HIGHEST_RATE || !about.channels) throw unreadable(`a header of ${about.rate} Hz and ${about.channels} channels`);
      const frames = Math.floor(Math.min(size, bytes.length - begin) / (width * about.channels));
      const channels = Array.from({ length: about.channels }, (_, channel) =>
        Float32Array.from({ length: frames }, (_, frame) => read(view, begin + (frame * about.channels + channel) * width)),
      );
      return { ...about, channels, exact: about.format === PCM && about.bits === 16 };
    }
    at = begin + size + (size & 1);
  }
  throw unreadable("no sound: Error in WAV file. No 'data' chunk marker");
}

// The rate that a compressed file was made with, so that the browser does not change it.
function rateOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (text(bytes, 0, 4) === "fLaC") return (view.getUint8(18) << 12) | (view.getUint8(19) << 4) | (view.getUint8(20) >> 4);
  if (text(bytes, 0, 4) === "RIFF") return view.getUint32(24, true);
  if (text(bytes, 0, 4) === "OggS") return text(bytes, 29, 6) === "vorbis" ? view.getUint32(40, true) : 48_000;
  let at = text(bytes, 0, 3) === "ID3" ? 10 + ((bytes[6] << 21) | (bytes[7] << 14) | (bytes[8] << 7) | bytes[9]) : 0;
  for (; at + 4 < bytes.length && at < 100_000; at++) {
    if (bytes[at] === 0xff && (bytes[at + 1] & 0xe0) === 0xe0) {
      const base = [44_100, 48_000, 32_000][(bytes[at + 2] >> 2) & 3];
      const version = (bytes[at + 1] >> 3) & 3;
      if (base && version !== 1) return base / { 3: 1, 2: 2, 0: 4 }[version];
    }
  }
  return 48_000;
}

// Chromium takes 32767 for full scale upwards: of FLAC with 16 bits the file's own numbers are found again.
function asStored(samples) {
  if (samples.every((value) => Number.isInteger(value * FULL_SCALE))) return samples;
  return samples.map((value) => (value > 0 ? Math.round(value * (FULL_SCALE - 1)) / FULL_SCALE : value));
}

async function byBrowser(bytes) {
  const rate = rateOf(bytes);
  try {
    const context = new OfflineAudioContext(1, 1, rate);
    const buffer = await context.decodeAudioData(bytes.slice().buffer);
    const channels = Array.from({ length: buffer.numberOfChannels }, (_, at) => buffer.getChannelData(at));
    const exact = text(bytes, 0, 4) === "fLaC" && (((bytes[20] & 1) << 4) | (bytes[21] >> 4)) === 15;
    return { rate, channels: exact ? channels.map(asStored) : channels, exact };
  } catch (error) {
    throw unreadable(`no sound that this browser reads (${error.message})`);
  }
}

// The mean of all channels, as NumPy takes it in float32.
function mixed(channels) {
  if (channels.length === 1) return channels[0];
  return channels[0].map((first, at) => {
    let sum = first;
    for (const channel of channels.slice(1)) sum = Math.fround(sum + channel[at]);
    return Math.fround(sum / channels.length);
  });
}

const half = (value) => {
  const low = Math.floor(value);
  const rest = value - low;
  return rest < 0.5 ? low : rest > 0.5 ? low + 1 : low % 2 === 0 ? low : low + 1;
};

function kept(samples, rate, wanted) {
  const bad = samples.reduce((count, value) => count + (Number.isFinite(value) ? 0 : 1), 0);
  if (bad) throw unreadable(`NaN or infinity in ${bad.toLocaleString("en")} of ${samples.length.toLocaleString("en")} samples`);
  const peak = samples.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const fitting = peak > 1 ? samples.map((value) => Math.fround(value / peak)) : samples;
  return Int16Array.from(resample(fitting, rate, wanted), (value) => Math.max(-FULL_SCALE, Math.min(FULL_SCALE - 1, half(Math.fround(value * FULL_SCALE)))));
}

/**
 * A sound as float32 (T,), full scale at 1, of whole 16-bit steps.
 *
 * @param {Uint8Array | number[]} raw - a file's bytes, or samples that have the model's rate already.
 */
export async function decodeSound(operation, raw) {
  const { sample_rate: wanted, max_seconds: most } = operation;
  let found;
  if (raw instanceof Uint8Array) {
    if (!raw.length) throw unreadable("0 bytes");
    found = readWav(raw) ?? (await byBrowser(raw));
  } else {
    found = { rate: wanted, channels: [Float32Array.from(raw)], exact: false };
  }
  const count = found.channels[0].length;
  if (count > Math.trunc(most * found.rate)) {
    throw new InputError("sound", `at most ${most} s of sound`, `${(count / found.rate).toFixed(1)} s`, "Cut it, or allow more by --max-seconds.");
  }
  if (!count) throw unreadable("0 samples");
  const samples = mixed(found.channels);
  const direct = found.exact && found.channels.length === 1 && found.rate === wanted;
  const whole = direct ? Int16Array.from(samples, (value) => value * FULL_SCALE) : kept(samples, found.rate, wanted);
  if (whole.every((value) => value === whole[0])) throw unreadable(`silence: all ${whole.length.toLocaleString("en")} samples are ${whole[0]}`);
  return { dtype: "float32", shape: [whole.length], data: Float32Array.from(whole, (value) => value / FULL_SCALE) };
}
