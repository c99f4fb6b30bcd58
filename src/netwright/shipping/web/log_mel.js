// Log-mel spectra of a sound as the training data were stored; as netwright/log_mel.py makes them.

import { transform } from "./fourier.js";

const FLOOR = 1e-10;
// Slaney's scale: linear to 1,000 Hz, logarithmic above.
const [STEP, BREAK, LOG] = [200 / 3, 1000, Math.log(6.4) / 27];

const melOf = (hertz) => (hertz < BREAK ? hertz / STEP : BREAK / STEP + Math.log(hertz / BREAK) / LOG);
const hertzOf = (mel) => (mel < BREAK / STEP ? mel * STEP : BREAK * Math.exp(LOG * (mel - BREAK / STEP)));

// For each band the first bin of its triangle and the weights from there on.
function trianglesOf({ sample_rate: rate, num_bands: count, low_hz: lowest }, size) {
  const [low, high] = [melOf(lowest), melOf(rate / 2)];
  const corners = Array.from({ length: count + 2 }, (_, at) => hertzOf(low + ((high - low) * at) / (count + 1)));
  return Array.from({ length: count }, (_, band) => {
    const [left, middle, right] = corners.slice(band, band + 3);
    const weights = Array.from({ length: size / 2 + 1 }, (__, bin) => {
      const hertz = (bin * rate) / size;
      const weight = Math.min((hertz - left) / (middle - left), (right - hertz) / (right - middle));
      return Math.fround((Math.max(0, weight) * 2) / (right - left));
    });
    const first = Math.max(0, weights.findIndex((weight) => weight > 0));
    return { first, weights: weights.slice(first, weights.findLastIndex((weight) => weight > 0) + 1) };
  });
}

/** The spectra of samples with full scale at 1, as a field (frames, bands). */
export function logMel(operation, { data: samples }) {
  const { window, hop, num_bands: count } = operation;
  const size = 2 ** Math.ceil(Math.log2(window));
  const shape = Array.from({ length: window }, (_, at) => 0.5 - 0.5 * Math.cos((2 * Math.PI * at) / window));
  const sum = shape.reduce((a, b) => a + b, 0);
  const triangles = trianglesOf(operation, size);
  const frames = Math.ceil(samples.length / hop);
  const data = new Float32Array(frames * count);
  for (let frame = 0; frame < frames; frame++) {
    const [real, imaginary] = [new Float64Array(size), new Float64Array(size)];
    const begin = frame * hop - (window >> 1);
    for (let at = 0; at < window; at++) real[at] = ((samples[begin + at] ?? 0) * shape[at]) / sum;
    transform(real, imaginary);
    triangles.forEach(({ first, weights }, band) => {
      const energy = weights.reduce((total, weight, at) => total + weight * (real[first + at] ** 2 + imaginary[first + at] ** 2), 0);
      data[frame * count + band] = Math.log(Math.max(energy, FLOOR));
    });
  }
  return { data, shape: [frames, count], dtype: "float32" };
}
