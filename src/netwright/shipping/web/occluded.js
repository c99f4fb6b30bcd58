// Where the model looked: parts of an input are taken away, and it is told how much the answer falls; as the server does.

import { answerOf } from "./answers.js";
import { bundle, run } from "./model.js";
import { batchOf, sampleOf } from "./samples.js";

const GRID = 7; // pieces of a picture's side, each way
const STRETCHES = 32; // pieces of a sound or series
const MOST_TOKENS = 64; // that are taken away one by one; of a longer text so many stretches
const UNKNOWN = 1;
const MOST_MS = 4000; // that all of it may take: a large model is not asked fifty times

function numbersOf(answer) {
  const found = Object.keys(answer.probabilities ?? {}).sort().map((name) => answer.probabilities[name]);
  found.push(...(answer.value ?? []), ...(answer.confidences ?? []));
  for (const steps of Object.values(answer.forecast ?? {})) found.push(...steps.map((step) => step.value));
  for (const name of Object.keys(answer.answers ?? {}).sort()) found.push(...numbersOf(answer.answers[name]));
  return found;
}

// How far the probability of an answer falls; of answers in numbers, how far they move.
function fall(before, after) {
  const [old, fresh] = [before.probabilities?.[before.label], after.probabilities?.[before.label]];
  if (old !== undefined && fresh !== undefined) return old - fresh;
  const [first, second] = [numbersOf(before), numbersOf(after)];
  if (!first.length || first.length !== second.length) return before.text === after.text ? 0 : 1;
  return first.reduce((sum, value, at) => sum + Math.abs(value - second[at]), 0) / first.length;
}

const cutsOf = (size, count) => Array.from({ length: count + 1 }, (_, at) => Math.trunc((size * at) / count));

// Ranges between cuts; those that hold nothing are left out.
const rangesOf = (size, most) => {
  const cuts = cutsOf(size, Math.min(most, size));
  return cuts.slice(1).map((end, at) => [cuts[at], end]).filter(([begin, end]) => end > begin);
};

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);

function pieces({ data, shape }) {
  const [bands, height, width] = shape;
  const means = Array.from({ length: bands }, (_, band) => Math.trunc(mean(data.subarray(band * height * width, (band + 1) * height * width))));
  return rangesOf(height, GRID).map(([top, bottom]) =>
    rangesOf(width, GRID).map(([left, right]) => {
      const changed = data.slice();
      for (let band = 0; band < bands; band++) {
        for (let y = top; y < bottom; y++) changed.fill(means[band], (band * height + y) * width + left, (band * height + y) * width + right);
      }
      return { data: changed, shape, dtype: "uint8" };
    }),
  );
}

// A sound or series without each of its stretches: silence, or the mean of each column.
function without(field, away) {
  const [length, ...rest] = field.shape;
  const width = rest.reduce((a, b) => a * b, 1);
  const instead = Array.from({ length: width }, (_, column) => away ?? mean(field.data.filter((__, at) => at % width === column)));
  return rangesOf(length, STRETCHES).map(([begin, end]) => ({ ...field, data: field.data.map((value, at) => (at >= begin * width && at < end * width ? instead[at % width] : value)) }));
}

/**
 * What taking parts away does to an answer.
 *
 * @param {() => boolean} wanted - whether it is still asked for.
 * @returns {object | null} {grid}, {stretches}, {tokens} or {columns}; null where there is nothing to tell, or no time.
 */
export async function whereOf(raw, sample, answer, wanted) {
  const held = await bundle();
  const { fields } = sample;
  if (answer.continuation !== undefined) return null;
  const begun = performance.now();
  const asked = async (changed, words = sample.words) => {
    // So that the page stays awake.
    await new Promise((resolve) => setTimeout(resolve));
    if (!wanted()) throw new Error("another question");
    if (performance.now() - begun > MOST_MS) throw new Error("too slow");
    const outputs = await run(batchOf(held.spec, changed));
    return fall(answer, answerOf(outputs, held, { fields: changed, words }, "occluded"));
  };
  // Where nothing moves the answer there is nothing to show.
  const told = (key, falls) => (falls.flat().some((value) => value !== 0) ? { [key]: falls } : null);
  const each = async (name, changes) => {
    const falls = [];
    for (const change of changes) falls.push(await asked({ ...fields, [name]: change }));
    return falls;
  };
  try {
    if (held.spec.kind === "table") {
      const columns = {};
      for (const name of Object.keys(raw)) {
        const { [name]: _, ...others } = raw;
        const rest = await sampleOf(held.spec, Object.keys(others).length ? others : { [name]: null });
        columns[name] = await asked(rest.fields, rest.words);
      }
      return { columns };
    }
    if (fields.image?.shape.length === 3) {
      const grid = [];
      for (const row of pieces(fields.image)) grid.push(await each("image", row));
      return told("grid", grid);
    }
    if (fields.sound) return told("stretches", await each("sound", without(fields.sound, 0)));
    if (fields.log_mel) return told("stretches", await each("log_mel", without(fields.log_mel)));
    if (fields.tokens && !fields.first) {
      const { data } = fields.tokens;
      const ranges = rangesOf(data.length, MOST_TOKENS);
      const falls = await each("tokens", ranges.map(([begin, end]) => ({ ...fields.tokens, data: Array.from(data, (id, at) => (at >= begin && at < end ? UNKNOWN : id)) })));
      return told("tokens", ranges.flatMap(([begin, end], at) => new Array(end - begin).fill(falls[at])));
    }
  } catch (error) {
    if (!["another question", "too slow"].includes(error.message)) throw error;
  }
  return null;
}
