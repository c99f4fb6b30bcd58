// Sentences whose words are tagged one by one: a word stays one token, whatever is inside it.

import { clean, InputError, isSpace, split } from "./python.js";

const UNKNOWN = 1;
const KNOWN_FROM = 2;
const KEPT_BEFORE = "@#";
const SHAPES = ["other", "lower", "Title", "UPPER", "U", "MiXed", "123", "a1", "signs", "@name", "#topic", "link", "empty"];
const LINK = /^(?:https?:|www\.)/i;
// Letters whose Unicode name begins with CJK, HIRAGANA, KATAKANA or BOPOMOFO.
const IDEOGRAPH = /^[\u2e80-\u2e99\u2e9b-\u2ef3\u3041-\u3096\u309b-\u30ff\u3105-\u312f\u31a0-\u31e3\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufa6d\ufa70-\ufad9\u{1aff0}-\u{1aff3}\u{1aff5}-\u{1affb}\u{1affd}-\u{1affe}\u{1b000}-\u{1b001}\u{1b11f}-\u{1b122}\u{1b150}-\u{1b152}\u{1b164}-\u{1b167}\u{20000}-\u{2a6df}\u{2a700}-\u{2b738}\u{2b740}-\u{2b81d}\u{2b820}-\u{2cea1}\u{2ceb0}-\u{2ebe0}\u{2f800}-\u{2fa1d}\u{30000}-\u{3134a}]$/u;
// Python's `isdigit`: beside decimal digits those of other forms.
const DIGIT = /^[\p{Nd}\xb2\xb3\xb9\u1369-\u1371\u19da\u2070\u2074-\u2079\u2080-\u2089\u2460-\u2468\u2474-\u247c\u2488-\u2490\u24ea\u24f5-\u24fd\u24ff\u2776-\u277e\u2780-\u2788\u278a-\u2792\u{10a40}-\u{10a43}\u{10e60}-\u{10e68}\u{11052}-\u{1105a}\u{1f100}-\u{1f10a}]$/u;

const isIdeograph = (letter) => IDEOGRAPH.test(letter);
const isSign = (letter) => /^[\p{P}\p{S}]$/u.test(letter);
const isDigit = (letter) => DIGIT.test(letter);
const isAlnum = (text) => /^[\p{L}\p{N}]+$/u.test(text);
const isUpper = (text) => /\p{Uppercase}/u.test(text) && !/[\p{Lowercase}\p{Lt}]/u.test(text);
const isLower = (text) => /\p{Lowercase}/u.test(text) && !/[\p{Uppercase}\p{Lt}]/u.test(text);

const compatible = (word) => clean(word).normalize("NFKC");

/** The form in which a word is looked up: compatible, in lower case, each digit as 0. */
const plain = (word) => compatible(word).toLowerCase().replace(/\p{Nd}/gu, "0");

const tables = new WeakMap();

function tableOf(operation) {
  if (!tables.has(operation)) {
    tables.set(operation, {
      words: new Map(operation.words.map((word, at) => [word, at + KNOWN_FROM])),
      letters: new Map(Array.from(operation.characters, (letter, at) => [letter, at + KNOWN_FROM])),
    });
  }
  return tables.get(operation);
}

// A piece with each ideograph on its own.
function apart(piece) {
  const parts = [];
  let joined = false;
  for (const letter of piece) {
    const alone = isIdeograph(letter);
    if (joined && !alone) parts[parts.length - 1] += letter;
    else parts.push(letter);
    joined = !alone;
  }
  return parts;
}

// One piece between spaces, with the punctuation around it as words of its own.
function peeled(piece, known) {
  if (isAlnum(piece) || known.has(plain(piece))) return [piece];
  const letters = Array.from(piece);
  let [begin, end] = [0, letters.length];
  const [before, after] = [[], []];
  const isKnown = () => known.has(plain(letters.slice(begin, end).join("")));
  while (end - begin > 1 && isSign(letters[begin]) && !isKnown()) {
    if (KEPT_BEFORE.includes(letters[begin]) && isAlnum(letters[begin + 1])) break;
    before.push(letters[begin++]);
  }
  while (end - begin > 1 && isSign(letters[end - 1]) && !isKnown()) after.unshift(letters[--end]);
  return [...before, letters.slice(begin, end).join(""), ...after];
}

function cut(operation, text) {
  if (operation.split === "character") return Array.from(text).filter((letter) => !isSpace(letter));
  const { words } = tableOf(operation);
  return split(text).flatMap((piece) => (operation.split === "ideographs" ? apart(piece) : [piece]).flatMap((part) => peeled(part, words)));
}

/** The words of one raw input: a list of them, or a sentence that is cut. */
export function sentence(operation, raw) {
  let words;
  if (typeof raw === "string") words = cut(operation, clean(raw));
  else if (Array.isArray(raw) && raw.every((word) => typeof word === "string")) words = raw.map(clean);
  else throw new InputError("input", "a sentence: a string, or a list of words", typeof raw, 'As "He lives in Rome", or ["He", "lives", "in", "Rome"].');
  if (words.length > operation.max_length) {
    throw new InputError("input", `a sentence of at most ${operation.max_length.toLocaleString("en")} words`, words.length.toLocaleString("en"), "Give sentences one by one, or train with a larger --max-length.");
  }
  return words;
}

/** How a word is written, one of `SHAPES`. */
export function shape(given) {
  const word = compatible(given);
  const letters = Array.from(word);
  if (!letters.length) return "empty";
  if (letters.length > 1 && KEPT_BEFORE.includes(letters[0])) return letters[0] === "@" ? "@name" : "#topic";
  if (LINK.test(word)) return "link";
  if (letters.every(isSign)) return "signs";
  if (letters.some(isDigit)) return letters.every((letter) => isDigit(letter) || isSign(letter)) ? "123" : "a1";
  if (isLower(word)) return "lower";
  if (isUpper(word)) return letters.length === 1 ? "U" : "UPPER";
  if (isUpper(letters[0]) && isLower(letters.slice(1).join(""))) return "Title";
  return letters.some(isUpper) ? "MiXed" : "other";
}

/** Ids of words, of their characters and of their shapes, as `tokens` (T,), `characters` (T, K) and `shapes` (T,). */
export function lookUp(operation, words) {
  const { words: known, letters } = tableOf(operation);
  const width = operation.spelling;
  const half = Math.floor(width / 2);
  const characters = new Int32Array(words.length * width);
  words.forEach((word, at) => {
    let written = Array.from(compatible(word));
    if (written.length > width) written = [...written.slice(0, width - half), ...written.slice(written.length - half)];
    written.forEach((letter, index) => (characters[at * width + index] = letters.get(letter) ?? UNKNOWN));
  });
  const tokens = Int32Array.from(words, (word) => known.get(plain(word)) ?? UNKNOWN);
  const shapes = Int32Array.from(words, (word) => 1 + SHAPES.indexOf(shape(word)));
  return {
    tokens: { dtype: "int32", shape: [words.length], data: tokens },
    characters: { dtype: "int32", shape: [words.length, width], data: characters },
    shapes: { dtype: "int32", shape: [words.length], data: shapes },
  };
}

// What a tag says of a word's place in an entity.
const [OUTSIDE, BEGIN, INSIDE, END, SINGLE] = [0, 1, 2, 3, 4];
const PLACES = { B: BEGIN, I: INSIDE, M: INSIDE, E: END, L: END, S: SINGLE, U: SINGLE };
const TAG = /^([BIMELSU])(?:-(.+))?$/s;

/** What the classes stand for, [place, type] of each; null where they are plain tags, as parts of speech. */
export function schemeOf(classes) {
  const matches = classes.map((name) => (name === "O" ? null : TAG.exec(name) ?? undefined));
  if (matches.includes(undefined)) return null;
  const found = matches.filter((one) => one !== null);
  const typed = found.filter((one) => one[2] !== undefined).length;
  if (!found.length || (typed && typed < found.length) || !found.some((one) => "BI".includes(one[1]))) return null;
  return matches.map((one) => (one === null ? [OUTSIDE, null] : [PLACES[one[1]], one[2] ?? ""]));
}

/** The entities of one sentence, read as the CoNLL script does. */
export function entitiesOf(tags, scheme) {
  const found = [];
  let before = [OUTSIDE, null];
  tags.forEach((tag, at) => {
    const [place, type] = scheme[tag];
    const goesOn = (place === INSIDE || place === END) && (before[0] === BEGIN || before[0] === INSIDE) && type === before[1];
    if (place !== OUTSIDE) {
      if (goesOn) found.at(-1).end = at + 1;
      else found.push({ type: type || "entity", begin: at, end: at + 1 });
    }
    before = [place, type];
  });
  return found;
}
