// A sound as a picture of how strong each pitch is at each time.

const { cos, sin, PI } = Math;

// Real and imaginary parts in place; their length is a power of two.
export function transform(real, imaginary) {
  const count = real.length;
  for (let at = 1, other = 0; at < count; at++) {
    let bit = count >> 1;
    for (; other & bit; bit >>= 1) other ^= bit;
    other ^= bit;
    if (at < other) {
      [real[at], real[other]] = [real[other], real[at]];
      [imaginary[at], imaginary[other]] = [imaginary[other], imaginary[at]];
    }
  }
  for (let size = 2; size <= count; size *= 2) {
    for (let begin = 0; begin < count; begin += size) {
      for (let at = 0; at < size / 2; at++) {
        const [a, b] = [begin + at, begin + at + size / 2];
        const [c, s] = [cos((2 * PI * at) / size), -sin((2 * PI * at) / size)];
        const [r, i] = [real[b] * c - imaginary[b] * s, real[b] * s + imaginary[b] * c];
        [real[b], imaginary[b]] = [real[a] - r, imaginary[a] - i];
        [real[a], imaginary[a]] = [real[a] + r, imaginary[a] + i];
      }
    }
  }
}

/** Columns of a spectrogram in decibels below the loudest, the lowest pitch first; 25 ms each. */
export function spectrogram(samples, rate, most) {
  const window = Math.max(16, Math.round(rate * 0.025));
  const size = 2 ** Math.ceil(Math.log2(window));
  const hop = Math.max(Math.round(rate * 0.01), Math.ceil(samples.length / most));
  const columns = [];
  for (let begin = 0; begin === 0 || begin + window <= samples.length; begin += hop) {
    const real = new Float64Array(size);
    for (let at = 0; at < window; at++) real[at] = (samples[begin + at] ?? 0) * (0.5 - 0.5 * cos((2 * PI * at) / window));
    const imaginary = new Float64Array(size);
    transform(real, imaginary);
    columns.push(Array.from({ length: size / 2 }, (_, at) => 10 * Math.log10(real[at] ** 2 + imaginary[at] ** 2 + 1e-10)));
  }
  const loudest = Math.max(...columns.map((column) => Math.max(...column)));
  return columns.map((column) => column.map((value) => value - loudest));
}
