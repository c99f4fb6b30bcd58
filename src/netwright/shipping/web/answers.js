// What a model's numbers say, as the records that `netwright predict` gives.

import { stampOf, timeOf } from "./dates.js";
import { InputError } from "./python.js";
import { entitiesOf, schemeOf } from "./tags.js";

const BLANK = 0;
const THRESHOLD = 0.5;
const UNKNOWN = "\ufffd";

const best = (row) => row.reduce((at, value, index) => (value > row[at] ? index : at), 0);

const operationOf = (spec, op) => spec.preprocess.operations.find((one) => one.op === op);

function rowsOf(output) {
  const width = output.dims.at(-1);
  return Array.from({ length: output.data.length / width }, (_, at) => Array.from(output.data.slice(at * width, (at + 1) * width)));
}

const byName = (classes, row) => Object.fromEntries(classes.map((name, at) => [name, row[at]]));

function classified(output, classes) {
  const row = rowsOf(output)[0];
  const at = best(row);
  return { label: classes[at], confidence: row[at], probabilities: byName(classes, row) };
}

function labelled(output, classes, threshold) {
  const row = rowsOf(output)[0];
  const order = row.map((_, at) => at).sort((a, b) => row[b] - row[a] || a - b);
  return { labels: order.filter((at) => row[at] > threshold).map((at) => classes[at]), probabilities: byName(classes, row) };
}

function foretold(output, spec, fields) {
  const windows = operationOf(spec, "window_series");
  const rows = rowsOf(output);
  const widths = spec.answer?.half_widths ?? null;
  const [origin] = fields.origin.data;
  const forecast = {};
  windows.columns.slice(0, windows.targets).forEach((name, column) => {
    forecast[name] = rows.map((row, step) => {
      const value = row[column];
      const width = widths?.[step]?.[column] ?? null;
      const around = width === null ? {} : { low: value - width, high: value + width };
      return { time: stampOf(timeOf(windows.grid, origin, step)), value, ...around };
    });
  });
  const series = windows.series ? { name: windows.scales[Number(fields.series.data[0])].name } : {};
  return { ...series, forecast };
}

function tagged(output, classes, words) {
  const rows = rowsOf(output).slice(0, words.length);
  const tags = rows.map(best);
  const scheme = schemeOf(classes);
  return {
    words,
    tags: tags.map((tag) => classes[tag]),
    confidences: rows.map((row, at) => row[tags[at]]),
    ...(scheme ? { entities: entitiesOf(tags, scheme) } : {}),
  };
}

/** The letters of the likeliest path: repeats as one, blanks left out. */
export function greedy(rows) {
  const path = rows.map(best);
  return path.filter((one, at) => one !== BLANK && one !== path[at - 1]);
}

function logSum(a, b) {
  const high = Math.max(a, b);
  return high === -Infinity ? high : high + Math.log1p(Math.exp(-Math.abs(a - b)));
}

/** The likeliest letters over all paths, as far as `width` beginnings at a time can tell. Source: as netwright.ctc. */
export function beamSearch(rows, width) {
  const parents = [-1];
  const letters = [BLANK];
  const children = new Map();
  let beam = [{ one: 0, blank: 0, spoken: -Infinity }];
  for (const row of rows) {
    const places = new Map(beam.map(({ one }, place) => [one, place]));
    const grown = beam.map(({ one, blank, spoken }) =>
      row.map((value, letter) => (letter === BLANK ? -Infinity : (letter === letters[one] ? blank : logSum(blank, spoken)) + value)),
    );
    const stay = beam.map(({ one, blank, spoken }) => ({
      blank: logSum(blank, spoken) + row[BLANK],
      spoken: letters[one] === BLANK ? -Infinity : spoken + row[letters[one]],
    }));
    beam.forEach(({ one }, place) => {
      const before = places.get(parents[one]);
      if (before === undefined) return;
      stay[place].spoken = logSum(stay[place].spoken, grown[before][letters[one]]);
      grown[before][letters[one]] = -Infinity;
    });
    const choices = [...stay.map(({ blank, spoken }, place) => [logSum(blank, spoken), place, -1]), ...grown.flatMap((own, place) => own.map((score, letter) => [score, place, letter]))];
    const kept = choices.map((choice, at) => [...choice, at]).filter(([score]) => score > -Infinity).sort((a, b) => b[0] - a[0] || a[3] - b[3]).slice(0, width);
    beam = kept.map(([score, place, letter]) => {
      if (letter < 0) return { one: beam[place].one, ...stay[place] };
      const key = `${beam[place].one} ${letter}`;
      if (!children.has(key)) {
        children.set(key, parents.length);
        parents.push(beam[place].one);
        letters.push(letter);
      }
      return { one: children.get(key), blank: -Infinity, spoken: score };
    });
  }
  const totals = beam.map(({ blank, spoken }) => logSum(blank, spoken));
  const found = [];
  for (let { one } = beam[best(totals)]; one > 0; one = parents[one]) found.unshift(letters[one]);
  return found;
}

function transcribed(outputs, spec, letters) {
  const rows = rowsOf(outputs.log_probs).slice(0, Number(outputs.frames.data[0]));
  const beam = spec.answer?.beam ?? 1;
  const found = beam > 1 ? beamSearch(rows, beam) : greedy(rows);
  return { text: found.map((one) => letters[one - 1] ?? UNKNOWN).join("") };
}

function single(task, output, classes, threshold) {
  if (task === "multi_label") return labelled(output, classes, threshold);
  if (task === "classification") return classified(output, classes);
  return { value: Array.from(output.data) };
}

/**
 * The answer of one input.
 *
 * @param {object} outputs - of the model, by name, each with `dims` and `data`.
 * @param {{spec, classes}} bundle - preprocess.json and classes.json.
 * @param {{fields, words}} sample - as `sampleOf` gave it.
 */
export function answerOf(outputs, { spec, classes }, sample, name) {
  for (const output of Object.values(outputs)) {
    // A log-probability may be minus infinity.
    if (output.type !== "int64" && !output.data.every((value) => Number.isFinite(value) || value === -Infinity)) {
      throw new InputError(name, "an answer in finite numbers", "NaN or infinity");
    }
  }
  const threshold = spec.answer?.threshold ?? THRESHOLD;
  const { task } = spec;
  if (task === "several") {
    const answers = {};
    for (const [answer, own] of Object.entries(spec.answer.answers)) {
      const output = outputs[`${answer}.probabilities`] ?? outputs[`${answer}.values`];
      answers[answer] = { name: answer, ...single(own.task, output, classes.answers[answer], threshold) };
    }
    return { name, answers };
  }
  if (task === "forecasting") return { name, ...foretold(outputs.values, spec, sample.fields) };
  if (task === "tagging") return { name, ...tagged(outputs.probabilities, classes.classes, sample.words) };
  if (task === "transcription") return { name, ...transcribed(outputs, spec, classes.letters) };
  if (outputs.probabilities) return { name, ...single(task, outputs.probabilities, classes.classes, threshold) };
  return { name, ...single("regression", outputs.values ?? Object.values(outputs)[0], null, threshold) };
}
