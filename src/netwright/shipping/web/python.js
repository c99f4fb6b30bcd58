// What Python does with texts and numbers, where JavaScript does it otherwise; and errors as Python words them.

/** An input that cannot be read: what was expected, what was found, what to do. */
export class InputError extends Error {
  constructor(where, expected, got, cure = "") {
    super(`${where}: expected ${expected}, got ${got}.${cure ? `\n${cure}` : ""}`);
    this.name = "InputError";
  }
}

// Python's white space: it has the separators 1C to 1F and 85, and not FEFF.
const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const AROUND = new RegExp(`^[${SPACE}]+|[${SPACE}]+$`, "g");
const BETWEEN = new RegExp(`[${SPACE}]+`);
const ONE_SPACE = new RegExp(`^[${SPACE}]$`);

/** `str.strip()`. */
export const strip = (text) => text.replace(AROUND, "");

/** `str.split()`: at white space, without empty parts. */
export const split = (text) => text.split(BETWEEN).filter((part) => part !== "");

/** `str.isspace()` of one letter. */
export const isSpace = (letter) => ONE_SPACE.test(letter);

/** A text whose lone surrogates, which are no Unicode, are question marks: `encode("utf-8", "replace")`. */
export const clean = (text) => text.replace(/\p{Surrogate}/gu, "?");

// The value of a decimal digit of any script: all come in runs of ten, from 0 on.
function digitOf(letter) {
  let code = letter.codePointAt(0);
  if (code >= 0x1d7ce && code <= 0x1d7ff) return (code - 0x1d7ce) % 10;
  for (let value = 0; ; value++, code--) if (!/^\p{Nd}$/u.test(String.fromCodePoint(code - 1))) return value;
}

const NUMBER = /^[+-]?(?:\d+(?:_\d+)*\.?(?:\d+(?:_\d+)*)?|\.\d+(?:_\d+)*)(?:e[+-]?\d+(?:_\d+)*)?$/i;
const WORDS = /^([+-]?)(?:(inf|infinity)|(nan))$/i;

/** `float(text)`; null where Python raises. */
export function toFloat(text) {
  // Of ASCII alone Python takes off what C calls white space, which has not the separators 1C to 1F.
  const bare = /^[\0-\x7f]*$/.test(text) ? text.replace(/^[\t-\r ]+|[\t-\r ]+$/g, "") : strip(text);
  const plain = bare.replace(/(?![0-9])\p{Nd}/gu, (letter) => String(digitOf(letter)));
  if (NUMBER.test(plain)) return Number(plain.replaceAll("_", ""));
  const word = WORDS.exec(plain);
  if (!word) return null;
  return word[3] ? NaN : word[1] === "-" ? -Infinity : Infinity;
}

/** `repr(number)` of a float that is not whole. */
export function reprFloat(value) {
  const [digits, power] = value.toExponential().split("e");
  const size = Number(power);
  if (size >= -4 && size < 16) {
    if (size >= 0) return String(value);
    const [, sign, figures] = /^(-?)(.*)$/.exec(digits.replace(".", ""));
    return `${sign}0.${"0".repeat(-size - 1)}${figures}`;
  }
  return `${digits}e${size < 0 ? "-" : "+"}${String(Math.abs(size)).padStart(2, "0")}`;
}

/** `repr` of a cell, for errors. */
export const quoted = (cell) => (typeof cell === "string" ? `'${cell}'` : cell === null ? "None" : JSON.stringify(cell));
