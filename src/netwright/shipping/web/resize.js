// Bilinear resizing with antialiasing, bit for bit as Pillow's ImagingResample does it in whole numbers.

const PRECISION = 22; // bits behind the point

// Weights of each new pixel over old ones, and the first of these.
function weightsOf(before, after) {
  const scale = before / after;
  const stretch = Math.max(scale, 1);
  const size = Math.ceil(stretch) * 2 + 1;
  const firsts = new Int32Array(after);
  const counts = new Int32Array(after);
  const weights = new Int32Array(after * size);
  for (let at = 0; at < after; at++) {
    const centre = (at + 0.5) * scale;
    const begin = Math.max(0, Math.trunc(centre - stretch + 0.5));
    const end = Math.min(before, Math.trunc(centre + stretch + 0.5));
    const own = [];
    let sum = 0;
    for (let x = begin; x < end; x++) {
      const away = Math.abs((x - begin + begin - centre + 0.5) * (1 / stretch));
      own.push(away < 1 ? 1 - away : 0);
      sum += own.at(-1);
    }
    firsts[at] = begin;
    counts[at] = own.length;
    own.forEach((weight, index) => (weights[at * size + index] = Math.trunc(0.5 + (sum !== 0 ? weight / sum : weight) * 2 ** PRECISION)));
  }
  return { firsts, counts, weights, size };
}

// One pass along an axis; `step` is how far neighbours along it are apart, `across` the others.
function pass(pixels, before, after, lines, step, across, out) {
  const { firsts, counts, weights, size } = weightsOf(before, after);
  for (let line = 0; line < lines; line++) {
    for (let at = 0; at < after; at++) {
      let sum = 1 << (PRECISION - 1);
      const begin = line * across.before + firsts[at] * step.before;
      for (let index = 0; index < counts[at]; index++) sum += pixels[begin + index * step.before] * weights[at * size + index];
      out[line * across.after + at * step.after] = Math.min(255, Math.max(0, sum >> PRECISION));
    }
  }
  return out;
}

const along = (pixels, width, height, columns) =>
  columns === width ? pixels : pass(pixels, width, columns, height, { before: 1, after: 1 }, { before: width, after: columns }, new Uint8Array(columns * height));

const down = (pixels, width, height, rows) =>
  rows === height ? pixels : pass(pixels, height, rows, width, { before: width, after: width }, { before: 1, after: 1 }, new Uint8Array(width * rows));

/** One plane of a picture at another size, uint8. */
export function resize(pixels, width, height, columns, rows, { downFirst = true } = {}) {
  // Each pass rounds, so their order counts. Pillow 13 goes down first where that takes away more than twice as much.
  if (downFirst && rows < height && height - rows > 2 * (width - columns)) {
    return along(down(pixels, width, height, rows), width, rows, columns);
  }
  return down(along(pixels, width, height, columns), columns, height, rows);
}
