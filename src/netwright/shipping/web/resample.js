// Samples at another rate, as SciPy's resample_poly makes them in float32 with a Kaiser window.

const MAX_TERM = 2_000;
const BETA = 5;
const { fround } = Math;

// The nearest fraction with a small denominator. Source: Python's Fraction.limit_denominator.
function ratioOf(wanted, rate) {
  const divisor = (a, b) => (b ? divisor(b, a % b) : a);
  const common = divisor(wanted, rate);
  const [top, bottom] = [wanted / common, rate / common];
  if (bottom <= MAX_TERM) return [top, bottom];
  let [p0, q0, p1, q1, n, d] = [0, 1, 1, 0, top, bottom];
  for (;;) {
    const a = Math.floor(n / d);
    const q2 = q0 + a * q1;
    if (q2 > MAX_TERM) break;
    [p0, q0, p1, q1, n, d] = [p1, q1, p0 + a * p1, q2, d, n - a * d];
  }
  const k = Math.floor((MAX_TERM - q0) / q1);
  const [p2, q2] = [p0 + k * p1, q0 + k * q1];
  return 2 * d * (q0 + k * q1) <= bottom ? [p1, q1] : [p2, q2];
}

// The modified Bessel function of order 0, by its series.
function bessel(x) {
  let [sum, term] = [1, 1];
  for (let k = 1; term > sum * 1e-17; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

const filters = new Map();

// Low-pass filter of the larger term of a ratio, float32: SciPy's firwin.
function filterOf(most) {
  if (!filters.has(most)) {
    const count = 20 * most + 1;
    const middle = (count - 1) / 2;
    const cutoff = 1 / most;
    const values = Float64Array.from({ length: count }, (_, at) => {
      const away = at - middle;
      const turn = Math.PI * (cutoff * away);
      const window = bessel(BETA * Math.sqrt(1 - (away / middle) ** 2)) / bessel(BETA);
      return cutoff * (away === 0 ? 1 : Math.sin(turn) / turn) * window;
    });
    const sum = values.reduce((a, b) => a + b, 0);
    filters.set(most, Float32Array.from(values, (value) => value / sum));
  }
  return filters.get(most);
}

/** Samples (T,) at another rate, (ceil(T * wanted / rate),), float32. */
export function resample(samples, rate, wanted) {
  if (rate === wanted) return samples;
  const [up, down] = ratioOf(wanted, rate);
  if (up === down) return samples;
  const most = Math.max(up, down);
  const reach = 10 * most;
  const filter = filterOf(most).map((value) => fround(value * up));
  const before = down - (reach % down);
  const skipped = (reach + before) / down;
  const out = new Float32Array(Math.ceil((samples.length * up) / down));
  for (let at = 0; at < out.length; at++) {
    const place = (at + Math.floor(skipped)) * down;
    const phase = place % up;
    const last = (place - phase) / up;
    // Oldest first, as SciPy adds: in float32 the order counts.
    const furthest = Math.floor((before + filter.length - 1 - phase) / up);
    let sum = 0;
    for (let x = Math.max(0, last - furthest); x <= Math.min(last, samples.length - 1); x++) {
      const index = phase + (last - x) * up - before;
      if (index >= 0) sum = fround(sum + fround(samples[x] * filter[index]));
    }
    out[at] = sum;
  }
  return out;
}
