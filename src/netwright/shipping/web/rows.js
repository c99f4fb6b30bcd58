// Rows of a table as numbers: what training fitted to each column.

import { parseDate, secondsOf } from "./dates.js";
import { InputError, quoted, reprFloat, strip, toFloat } from "./python.js";

const MISSING = new Set(["", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "null", "NULL", "<NA>", "#N/A", "?"]);
const TAIL = 1e-7;
const DAY = 86_400;
const PARTS = { month: 12, weekday: 7, hour: 24 };

/** Whether a cell holds nothing. */
export const isMissing = (cell) => (typeof cell === "string" ? MISSING.has(strip(cell)) : cell === null || cell === undefined || Number.isNaN(cell));

// `str(cell)`, of what JSON can hold.
function asString(cell) {
  if (typeof cell === "boolean") return cell ? "True" : "False";
  if (typeof cell === "number" && !Number.isInteger(cell) && Number.isFinite(cell)) return reprFloat(cell);
  return String(cell);
}

/** A cell as a category: whole numbers alike however they are written, what is missing as an empty text. */
export function asText(cell) {
  if (isMissing(cell)) return "";
  const text = strip(asString(cell));
  const number = toFloat(text);
  return number !== null && Number.isInteger(number) ? String(BigInt(number)) : text;
}

/** A cell as a number; NaN where it is missing or infinite. */
export function asNumber(cell, name) {
  if (isMissing(cell)) return NaN;
  const value = typeof cell === "string" ? toFloat(cell) : typeof cell === "number" || typeof cell === "boolean" ? Number(cell) : null;
  if (value === null) throw new InputError(`column ${name}`, "a number", quoted(cell), "Leave it empty if it is unknown.");
  return Number.isFinite(value) ? value : NaN;
}

/** A cell as seconds since 1970; NaN where it is missing. */
export function asSeconds(cell, name) {
  if (isMissing(cell)) return NaN;
  const moment = typeof cell === "string" ? parseDate(cell) : null;
  if (moment === null) {
    throw new InputError(`column ${name}`, "a date, as 2026-11-23 or 2026-11-23 14:30", quoted(cell), "Write the year first; leave it empty if it is unknown.");
  }
  return secondsOf(moment);
}

const polynomial = (x, factors) => factors.reduce((sum, factor) => sum * x + factor, 0);

/** The inverse of the normal distribution. Source: Cephes, ndtri.c. */
export function ndtri(share) {
  const edge = 0.13533528323661269189; // exp(-2)
  const upper = share > 1 - edge;
  const y = upper ? 1 - share : share;
  if (y > edge) {
    const p = [-5.99633501014107895267e1, 9.80010754185999661536e1, -5.66762857469070293439e1, 1.39312609387279679503e1, -1.23916583867381258016e0];
    const q = [1, 1.95448858338141759834e0, 4.67627912898881538453e0, 8.63602421390890590575e1, -2.25462687854119370527e2, 2.00260212380060660359e2, -8.20372256168333339912e1, 1.59056225126211695515e1, -1.18331621121330003142e0];
    const away = y - 0.5;
    const square = away * away;
    return (away + away * ((square * polynomial(square, p)) / polynomial(square, q))) * 2.50662827463100050242;
  }
  const x = Math.sqrt(-2 * Math.log(y));
  const z = 1 / x;
  const near = x < 8;
  const p = near
    ? [4.05544892305962419923e0, 3.15251094599893866154e1, 5.71628192246421288162e1, 4.408050738932008347e1, 1.46849561928858024014e1, 2.18663306850790267539e0, -1.40256079171354495875e-1, -3.50424626827848203418e-2, -8.57456785154685413611e-4]
    : [3.2377489177694603597e0, 6.91522889068984211695e0, 3.93881025292474443415e0, 1.33303460815807542389e0, 2.01485389549179081538e-1, 1.23716634817820021358e-2, 3.01581553508235416007e-4, 2.65806974686737550832e-6, 6.2397453918498329373e-9];
  const q = near
    ? [1, 1.57799883256466749731e1, 4.53907635128879210584e1, 4.1317203825467203044e1, 1.50425385692907503408e1, 2.50464946208309415979e0, -1.42182922854787788574e-1, -3.80806407691578277194e-2, -9.33259480895457427372e-4]
    : [1, 6.02427039364742014255e0, 3.67983563856160859403e0, 1.37702099489081330271e0, 2.1623699359449663589e-1, 1.34204006088543189037e-2, 3.28014464682127739104e-4, 2.89247864745380683936e-6, 6.79019408009981274425e-9];
  const found = x - Math.log(x) / x - (z * polynomial(z, p)) / polynomial(z, q);
  return upper ? found : -found;
}

// NumPy's interp: equal knots are jumped over to their last.
function interpolated(value, knots, heights) {
  const last = knots.length - 1;
  if (value > knots[last]) return heights[last];
  if (value < knots[0]) return heights[0];
  let [low, high] = [0, last + 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (knots[middle] <= value) low = middle;
    else high = middle;
  }
  if (low === last) return heights[last];
  if (knots[low] === value) return heights[low];
  const slope = (heights[low + 1] - heights[low]) / (knots[low + 1] - knots[low]);
  return slope * (value - knots[low]) + heights[low];
}

/** A value's quantile among knots, as that of a normal distribution. */
export function toNormal(value, knots) {
  const last = knots.length - 1;
  const places = knots.map((_, at) => (at === last && last ? 1 : at * (1 / last)));
  const rising = interpolated(value, knots, places);
  const falling = 1 - interpolated(-value, knots.map((knot) => -knot).reverse(), places);
  return ndtri(Math.min(1 - TAIL, Math.max(TAIL, (rising + falling) / 2)));
}

function encodeNumber(column, value) {
  const missing = Number.isNaN(value);
  let filled = missing ? column.fill : value;
  if (column.knots) filled = toNormal(filled, column.knots);
  const scaled = Math.fround((filled - column.mean) / column.std);
  return column.missing ? [scaled, missing ? 1 : 0] : [scaled];
}

function encodeDate(column, seconds) {
  const missing = Number.isNaN(seconds);
  const origin = secondsOf(parseDate(column.origin));
  const days = missing ? 0 : ((seconds - origin) / DAY - column.mean) / column.std;
  // A moment's second by cutting off, as NumPy does.
  const whole = Math.trunc(missing ? 0 : seconds);
  const moment = new Date(whole * 1000);
  const codes = { month: moment.getUTCMonth(), weekday: (moment.getUTCDay() + 6) % 7, hour: moment.getUTCHours() };
  return [Math.fround(days), column.parts.map((part) => (missing ? 0 : codes[part] + 1))];
}

/** A column's name as Python could have it. */
export function slug(name) {
  const plain = strip(name).replace(/[^\p{L}\p{N}_]+/gu, "_").replace(/^_+|_+$/g, "").toLowerCase();
  return plain === "" || /^\p{Nd}/u.test(plain) ? `_${plain}` : plain;
}

/** Names of the numbers and of the categories that columns give, the latter with their count of codes. */
export function namesOf(operation) {
  const numbers = [];
  const categories = [];
  for (const column of operation.columns) {
    if (column.kind === "category") categories.push([column.column, column.values.length + 1]);
    else {
      numbers.push(column.column);
      if (column.kind === "number" && column.missing) numbers.push(`${column.column} missing`);
      if (column.kind === "date") categories.push(...column.parts.map((part) => [`${column.column} ${part}`, PARTS[part] + 1]));
    }
  }
  return { numbers, categories };
}

/** One row as numbers and codes: columns that it lacks are missing. */
export function encodeRow(operation, row) {
  if (row === null || typeof row !== "object" || Array.isArray(row)) {
    throw new InputError("input", "a row: a mapping of column names to values", Array.isArray(row) ? "list" : typeof row, 'Give it as {"column": value}.');
  }
  const used = operation.columns.map((column) => column.column);
  const unknown = Object.keys(row).filter((name) => !used.includes(name) && !operation.unused.includes(name));
  if (unknown.length || (used.length && !used.some((name) => Object.hasOwn(row, name)))) {
    throw new InputError("input", `the columns ${used.join(", ")}`, unknown.length ? `${unknown.join(", ")}, which training had not` : "none of them", "Name the columns as in training; leave out what is unknown.");
  }
  const [numbers, categories] = [[], []];
  for (const column of operation.columns) {
    const cell = Object.hasOwn(row, column.column) ? row[column.column] : null;
    if (column.kind === "number") numbers.push(...encodeNumber(column, asNumber(cell, column.column)));
    else if (column.kind === "presence") numbers.push(isMissing(cell) ? 0 : 1);
    else if (column.kind === "category") categories.push(column.values.indexOf(asText(cell)) + 1);
    else {
      const [days, codes] = encodeDate(column, asSeconds(cell, column.column));
      numbers.push(days);
      categories.push(...codes);
    }
  }
  return { numbers, categories };
}

/** The fields of a row: all in one, by kind, and by column. */
export function rowFields(operation, { numbers, categories }) {
  const names = namesOf(operation);
  const hot = names.categories.flatMap(([, size], at) => Array.from({ length: size - 1 }, (_, code) => (categories[at] === code + 1 ? 1 : 0)));
  const fields = {
    features: { dtype: "float32", shape: [numbers.length + hot.length], data: Float32Array.from([...numbers, ...hot]) },
    numbers: { dtype: "float32", shape: [numbers.length], data: Float32Array.from(numbers) },
    categories: { dtype: "int64", shape: [categories.length], data: categories },
  };
  names.numbers.forEach((name, at) => (fields[slug(name)] ??= { dtype: "float32", shape: [], data: [numbers[at]] }));
  names.categories.forEach(([name], at) => (fields[slug(name)] ??= { dtype: "int64", shape: [], data: [categories[at]] }));
  return fields;
}
