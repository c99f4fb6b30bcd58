// Series: the last steps of a history as a window, and whole recordings.

import { calendarOf, positionOf, stampOf, timeOf } from "./dates.js";
import { InputError, quoted } from "./python.js";
import { asNumber, asSeconds, asText } from "./rows.js";

// Rows of numbers with gaps filled by the value before; nothing that comes later is looked at.
function filled(rows, start) {
  let last = start;
  return rows.map((row) => (last = row.map((value, column) => (Number.isNaN(value) ? last[column] : value))));
}

const scaled = (rows, mean, std) => Float32Array.from(rows.flatMap((row) => row.map((value, column) => (value - mean[column]) / std[column])));

const isTable = (raw) => raw !== null && typeof raw === "object" && !Array.isArray(raw);

function gridText(grid) {
  if (grid.unit === "month") return grid.size === 1 ? "1 month" : `${grid.size} months`;
  for (const [seconds, name] of [[604_800, "week"], [86_400, "day"], [3_600, "hour"], [60, "minute"], [1, "second"]]) {
    const count = grid.size / seconds;
    if (count >= 1 && Math.abs(count - Math.round(count)) < 1e-6) return `${count.toFixed(0)} ${name}${Math.round(count) === 1 ? "" : "s"}`;
  }
  return `${grid.size} seconds`;
}

// Values on the grid, NaN in gaps.
function laidOut(operation, seconds, rows, where) {
  const order = seconds.map((_, at) => at).sort((a, b) => seconds[a] - seconds[b]);
  const start = seconds[order[0]];
  const places = order.map((at) => positionOf(operation.grid, seconds[at], start));
  const twice = places.flatMap((place, at) => (place === places[at + 1] ? [order[at]] : []));
  if (twice.length) {
    throw new InputError(`${where}, ${stampOf(seconds[twice[0]])}`, "each time stamp once", `it stands twice; ${twice.length} such`, "Keep one row of each, or name the column that tells series apart.");
  }
  const laid = Array.from({ length: places.at(-1) + 1 }, () => operation.columns.map(() => NaN));
  places.forEach((place, at) => (laid[place] = rows[order[at]]));
  return [laid, start];
}

function seriesOf(operation, table) {
  if (!operation.series) return 0;
  const names = [...new Set(table[operation.series].map(asText))];
  const index = names.length === 1 ? operation.scales.findIndex((scale) => scale.name === names[0]) : -1;
  if (index < 0) {
    const known = operation.scales.slice(0, 3).map((scale) => scale.name).join(", ");
    throw new InputError(`column ${operation.series}`, `one series that training had, as ${known}`, names.sort().slice(0, 3).join(", ") || "none", "Give one history a series; a new series needs a network that was trained on it.");
  }
  return index;
}

/** The last steps of one history as the fields of a window. */
export function historyFields(operation, table) {
  if (!isTable(table)) {
    throw new InputError("input", "a history: a mapping of columns to sequences", Array.isArray(table) ? "list" : typeof table, `Give it as {'${operation.time}': times, '${operation.columns[0]}': values}.`);
  }
  const needed = [operation.time, ...operation.columns, ...(operation.series ? [operation.series] : [])];
  const absent = needed.filter((name) => !Object.hasOwn(table, name));
  if (absent.length) throw new InputError("input", `the columns ${needed.join(", ")}`, `none called ${absent.join(", ")}`, "Name the columns as in training.");
  const index = seriesOf(operation, table);
  const scale = operation.scales[index];
  const where = operation.series ? `series ${scale.name}` : "the history";
  const seconds = table[operation.time].map((cell) => asSeconds(cell, operation.time));
  const missing = seconds.findIndex((value) => Number.isNaN(value));
  if (missing >= 0) throw new InputError(`column ${operation.time}`, "a time for each step", quoted(table[operation.time][missing]), "Name the time of each step.");
  const columns = operation.columns.map((name) => table[name].map((cell) => asNumber(cell, name)));
  if (columns.some((column) => column.length !== seconds.length)) throw new InputError("input", "equally long columns", columns.map((column) => column.length).join(", "));
  const rows = seconds.map((_, at) => columns.map((column) => column[at]));
  const [laid, start] = rows.length ? laidOut(operation, seconds, rows, where) : [[], 0];
  const { context, horizon, targets } = operation;
  if (laid.length < context) {
    throw new InputError(where, `at least ${context} steps of ${gridText(operation.grid)}`, `${laid.length}`, "Give a longer history: the network answers from so many steps.");
  }
  const past = filled(laid, scale.mean).slice(-context);
  const known = laid.slice(-context).map((row) => row.every((value) => !Number.isNaN(value)));
  const moments = Array.from({ length: context + horizon }, (_, at) => timeOf(operation.grid, start, laid.length - context + at));
  const around = moments.map((moment) => calendarOf(operation.cycles, moment));
  const width = 2 * operation.cycles.length;
  const calendar = (part) => ({ dtype: "float32", shape: [part.length, width], data: Float32Array.from(part.flat()) });
  return {
    past: { dtype: "float32", shape: [context, operation.columns.length], data: scaled(past, scale.mean, scale.std) },
    mask: { dtype: "bool", shape: [context], data: Uint8Array.from(known, Number) },
    past_calendar: calendar(around.slice(0, context)),
    future_calendar: calendar(around.slice(context)),
    series: { dtype: "int64", shape: [], data: [index] },
    loc: { dtype: "float32", shape: [targets], data: Float32Array.from(scale.mean.slice(0, targets)) },
    scale: { dtype: "float32", shape: [targets], data: Float32Array.from(scale.std.slice(0, targets)) },
    origin: { dtype: "float64", shape: [], data: [moments[context]] },
  };
}

/** One recording as `series`, float32 (T, D). */
export function recordingFields(operation, raw) {
  const { columns, mean, std } = operation;
  let rows;
  if (isTable(raw)) {
    const absent = columns.filter((name) => !Object.hasOwn(raw, name));
    if (absent.length) throw new InputError("a recording", `the columns ${columns.join(", ")}`, `none called ${absent.join(", ")}`, "Name the columns as in training.");
    const found = columns.map((name) => raw[name].map((cell) => asNumber(cell, name)));
    if (!found[0].length || found.some((column) => column.length !== found[0].length)) {
      throw new InputError("a recording", "at least one step, and as many in each column", found.map((column, at) => `${column.length} of ${columns[at]}`).join(", "), "Give a value or None for each step.");
    }
    rows = found[0].map((_, at) => found.map((column) => column[at]));
  } else {
    rows = (Array.isArray(raw) ? raw : []).map((row) => (Array.isArray(row) ? row : [row]));
    if (!rows.length || rows.some((row) => row.length !== columns.length || row.some((value) => typeof value !== "number"))) {
      throw new InputError("a recording", `numbers (T, ${columns.length}), or a mapping of ${columns.slice(0, 3).join(", ")} to such`, "something else", "Give a row a step, and the columns in the order of training.");
    }
    rows = rows.map((row) => row.map((value) => (Number.isFinite(value) ? value : NaN)));
  }
  return { series: { dtype: "float32", shape: [rows.length, columns.length], data: scaled(filled(rows, mean), mean, std) } };
}
