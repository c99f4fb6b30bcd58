// Dates as Python's `datetime.fromisoformat` reads them, and steps of a regular grid.

import { strip } from "./python.js";

const DAY = 86_400;
const DATE = /^(\d{4})-(?:(\d\d)-(\d\d)|W(\d\d)(?:-(\d))?)/;
const CLOCK = /^(\d\d)(?::?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?)?$/;

const daysOf = (year, month, day) => {
  const moment = new Date(0);
  moment.setUTCFullYear(year, month - 1, day);
  return moment.getUTCMonth() === month - 1 && moment.getUTCDate() === day ? moment.getTime() / 1000 / DAY : null;
};

// Monday of a week of ISO 8601.
function weekOf(year, week, day) {
  const first = daysOf(year, 1, 4);
  const monday = first - ((((first + 3) % 7) + 7) % 7);
  const found = monday + 7 * (week - 1) + day - 1;
  const next = daysOf(year + 1, 1, 4);
  return week < 1 || day < 1 || day > 7 || monday + 7 * (week - 1) >= next - ((((next + 3) % 7) + 7) % 7) ? null : found;
}

// Microseconds of a clock's time; null where it is none.
function clockOf(text) {
  const found = CLOCK.exec(text);
  if (!found) return null;
  // All colons or none.
  const colons = text.split(":").length - 1;
  const parts = [found[1], found[2], found[3]].filter((one) => one !== undefined).length;
  if (colons && colons !== parts - 1) return null;
  const [hour, minute, second] = [1, 2, 3].map((at) => Number(found[at] ?? 0));
  if (hour > 23 || minute > 59 || second > 59) return null;
  return (hour * 3600 + minute * 60 + second) * 1e6 + Number((found[4] ?? "").slice(0, 6).padEnd(6, "0"));
}

/** A date with its year first, as {days since 1970, microseconds of the day, offset in microseconds}; or null. */
export function parseDate(text) {
  let clean = strip(text).replaceAll("Z", "+00:00");
  if (clean.length >= 8 && "/.".includes(clean[4]) && /^\p{Nd}{4}/u.test(clean)) {
    clean = clean.slice(0, 10).replaceAll(clean[4], "-") + clean.slice(10);
  }
  const found = DATE.exec(clean);
  if (!found) return null;
  const year = Number(found[1]);
  const days = found[4] === undefined ? daysOf(year, Number(found[2]), Number(found[3])) : weekOf(year, Number(found[4]), Number(found[5] ?? 1));
  if (days === null || year < 1) return null;
  const rest = clean.slice(found[0].length);
  if (rest === "") return { days, micros: 0, offset: 0 };
  // Any one letter stands between date and time.
  const time = Array.from(rest).slice(1).join("");
  const at = time.search(/[+-]/);
  const micros = clockOf(at < 0 ? time : time.slice(0, at));
  const offset = at < 0 ? 0 : clockOf(time.slice(at + 1));
  if (micros === null || offset === null) return null;
  return { days, micros, offset: at >= 0 && time[at] === "-" ? -offset : offset };
}

/** Seconds since 1970, in universal time. */
export const secondsOf = ({ days, micros, offset }) => days * DAY + (micros - offset) / 1e6;

/** Months since January 1970. */
export function monthsOf(seconds) {
  const moment = new Date(Math.trunc(seconds) * 1000);
  return (moment.getUTCFullYear() - 1970) * 12 + moment.getUTCMonth();
}

const monthStart = (months) => Date.UTC(1970 + Math.floor(months / 12), ((months % 12) + 12) % 12, 1) / 1000;

/** Rounded to even where it lies between, as NumPy does. */
export function round(value) {
  const low = Math.floor(value);
  const rest = value - low;
  return rest < 0.5 ? low : rest > 0.5 ? low + 1 : low % 2 === 0 ? low : low + 1;
}

/** Place of a time on the grid that begins at `start`. */
export function positionOf(grid, seconds, start) {
  if (grid.unit === "month") return round((monthsOf(seconds) - monthsOf(start)) / grid.size);
  return round((seconds - start) / grid.size);
}

/** Time of a place on the grid. */
export function timeOf(grid, start, place) {
  if (grid.unit === "second") return start + place * grid.size;
  const months = monthsOf(start);
  return monthStart(months + place * Math.trunc(grid.size)) + (start - monthStart(months));
}

/** Where a time stands in each cycle of the calendar, as sine and cosine. */
export function calendarOf(cycles, seconds) {
  const year = Date.UTC(new Date(Math.trunc(seconds) * 1000).getUTCFullYear(), 0, 1) / 1000;
  const rest = (value, length) => ((value % length) + length) % length;
  const shares = { day: rest(seconds / DAY, 1), week: rest(seconds / DAY + 3, 7) / 7, year: (seconds - year) / (366 * DAY) };
  return cycles.flatMap((cycle) => [Math.sin(2 * Math.PI * shares[cycle]), Math.cos(2 * Math.PI * shares[cycle])]);
}

/** A time as ISO 8601, a whole day without its hour. */
export function stampOf(seconds) {
  const micros = round(seconds * 1000) * 1000;
  const text = new Date(micros / 1000).toISOString().replace("T", " ");
  const [whole, thousandths] = text.slice(0, -1).split(".");
  if (thousandths !== "000") return `${whole}.${thousandths}000`;
  return whole.endsWith(" 00:00:00") ? whole.slice(0, -9) : whole;
}
