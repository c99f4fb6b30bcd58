// Pasted numbers of a series as columns: CSV, TSV, with a header or without, with times or without.

const DAY_MS = 86_400_000;
const DATE = /^\d{4}[-/.]\d{1,2}([-/.]\d{1,2})?([T ]\d|$)/;

const isNumber = (cell) => cell !== "" && Number.isFinite(Number(cell));
const stamp = (moment, hours) =>
  moment
    .toISOString()
    .slice(0, hours ? 19 : 10)
    .replace("T", " ");

function cellsOf(line, between) {
  const cells = [];
  let [cell, quoted] = ["", false];
  for (const letter of line) {
    if (letter === '"') quoted = !quoted;
    else if (letter === between && !quoted) {
      cells.push(cell.trim());
      cell = "";
    } else cell += letter;
  }
  return [...cells, cell.trim()];
}

/** Lines of text as cells, and the header where there is one. */
export function table(text) {
  const lines = text.split(/\r?\n/).filter((line) => line.trim());
  if (!lines.length) return null;
  const counted = (letter) => lines[0].split(letter).length;
  const between = ["\t", ";", ","].sort((a, b) => counted(b) - counted(a))[0];
  let rows = lines.map((line) => cellsOf(line, between));
  // Numbers in one line, with commas or blanks between, are one column.
  const flat = rows.length === 1 ? lines[0].split(/[\s,;]+/).filter(Boolean) : [];
  if (flat.length > 1 && flat.every(isNumber)) rows = flat.map((cell) => [cell]);
  const named = rows[0].every((cell) => !isNumber(cell) && !DATE.test(cell));
  return { header: named ? rows[0] : null, rows: named ? rows.slice(1) : rows };
}

/** Times of `count` steps on a grid, the last of them `end` (a Date). */
export function timesUntil(end, count, grid) {
  const months = grid?.unit === "month";
  const size = grid?.size ?? DAY_MS / 1000;
  return Array.from({ length: count }, (_, at) => {
    const back = count - 1 - at;
    const moment = months
      ? new Date(Date.UTC(end.getUTCFullYear(), end.getUTCMonth() - back * size, 1))
      : new Date(end.getTime() - back * size * 1000);
    return stamp(moment, !months && size % 86_400 !== 0);
  });
}

/**
 * The columns that a model asks for, from what was pasted.
 *
 * @returns {{raw: object, assumed: boolean} | {problem: string, slots: object}}
 */
export function columnsOf(text, fields) {
  const found = table(text);
  if (!found?.rows.length) return { problem: "no_numbers", slots: {} };
  const { header, rows } = found;
  const time = fields.find((one) => one.kind === "time");
  const values = fields.filter((one) => one.kind === "column");
  const series = fields.find((one) => one.kind === "series");
  const width = rows[0].length;
  const places = {};
  for (const field of fields) {
    const at = header?.indexOf(field.name) ?? -1;
    if (at >= 0) places[field.name] = at;
  }
  if (values.some((one) => !(one.name in places))) {
    // By place: first the time, if one looks so, then the columns in the order of training.
    const dated = rows[0].findIndex((cell) => DATE.test(cell));
    if (time && dated >= 0) places[time.name] = dated;
    const free = [...Array(width).keys()].filter((at) => at !== dated && rows.some((row) => isNumber(row[at] ?? "")));
    if (free.length < values.length)
      return { problem: "too_few_columns", slots: { names: values.map((one) => one.name).join(", ") } };
    values.forEach((one, index) => (places[one.name] = free[index]));
  }
  const raw = {};
  let assumed = false;
  for (const one of values) {
    const cells = rows.map((row) => row[places[one.name]] ?? "");
    const wrong = cells.findIndex((cell) => cell !== "" && !isNumber(cell) && !/^(na|nan|null|n\/a)$/i.test(cell));
    if (wrong >= 0)
      return { problem: "no_number", slots: { cell: cells[wrong], line: wrong + (header ? 2 : 1), name: one.name } };
    raw[one.name] = cells.map((cell) => (isNumber(cell) ? Number(cell) : null));
  }
  if (time) {
    assumed = !(time.name in places);
    const today = new Date(Math.floor(Date.now() / DAY_MS) * DAY_MS);
    raw[time.name] = assumed ? timesUntil(today, rows.length, time.grid) : rows.map((row) => row[places[time.name]]);
  }
  if (series) raw[series.name] = rows.map((row) => row[places[series.name]] ?? series.values[0]);
  return { raw, assumed };
}

/** Columns as CSV, for the field to paste into. */
export function asCsv(raw, fields) {
  const names = fields.map((one) => one.name).filter((name) => name in raw);
  const count = raw[names[0]]?.length ?? 0;
  const cell = (value) => {
    // Models work in float32: further digits of an example are noise.
    const text = typeof value === "number" ? String(Number(value.toPrecision(7))) : String(value ?? "");
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', "")}"` : text;
  };
  return [
    names.join(","),
    ...Array.from({ length: count }, (_, at) => names.map((name) => cell(raw[name][at])).join(",")),
  ].join("\n");
}
