// Texts as tokens: the parts of Hugging Face's tokenizers that netwright makes, and the usual ones of a person's own.

import { clean, InputError } from "./python.js";
import { LATER_COMPATIBLE, LATER_CONTROL, LATER_LETTERS, LATER_PUNCTUATION } from "./unicode.js";

const UNREADABLE = "\ufffd";
const WHITE = "\\p{White_Space}";
// Onigmo's classes of letters, digits and what words are made of.
const LETTER = `(?![${LATER_LETTERS}])\\p{L}`;
const DIGIT_LIKE = `(?![${LATER_LETTERS}])\\p{N}`;
const IN_WORDS = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
const OF_WORD = `(?![${LATER_LETTERS}])[${IN_WORDS}]`;
const NO_WORD = `(?:[${LATER_LETTERS}]|[^${IN_WORDS}${WHITE}])`;
// Patterns that netwright's tokenizers split by, in this language's form.
const PATTERNS = {
  "[\\s\\S]": "[\\s\\S]",
  "\\n|[^\\W_]+|_|[^\\w\\s]": `\\n|(?:(?!_)${OF_WORD})+|_|${NO_WORD}`,
};
const GPT2 = `'s|'t|'re|'ve|'m|'ll|'d| ?(?:${LETTER})+| ?(?:${DIGIT_LIKE})+| ?(?:[${LATER_LETTERS}]|[^${WHITE}\\p{L}\\p{N}])+|[${WHITE}]+(?![^${WHITE}])|[${WHITE}]+`;
const CHINESE = /[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]/gu;
const BERT_CONTROL = new RegExp(`[\\0\\ufffd]|(?![\\t\\n\\r${LATER_CONTROL}])[\\p{Cc}\\p{Cf}\\p{Cs}\\p{Co}]`, "gu");
const PUNCTUATION = `(?![${LATER_PUNCTUATION}])[!-\\/:-@\\[-\`{-~\\p{P}\\u166d\\u{111c9}]`;
const UNCHANGED = new RegExp(`([${LATER_COMPATIBLE}])`, "u");

const compatibly = (form) => (text) => text.split(UNCHANGED).map((part, at) => (at % 2 ? part : part.normalize(form))).join("");
const lower = (text) => Array.from(text, (letter) => letter.toLowerCase()).join("");
const withoutAccents = (text) => text.normalize("NFD").replace(/\p{Mn}/gu, "");

// Matches of a pattern and what lies between them, by what becomes of the matches.
function cut(text, pattern, { keep, between = true }) {
  const parts = [];
  let end = 0;
  for (const found of text.matchAll(new RegExp(pattern, "gu"))) {
    if (between && found.index > end) parts.push(text.slice(end, found.index));
    if (keep) parts.push(found[0]);
    end = found.index + found[0].length;
  }
  if (between && end < text.length) parts.push(text.slice(end));
  return parts;
}

const NORMALISERS = {
  Sequence: (part) => part.normalizers.map(normaliser).reduce((a, b) => (text) => b(a(text)), (text) => text),
  NFC: () => (text) => text.normalize("NFC"),
  NFD: () => (text) => text.normalize("NFD"),
  NFKC: () => compatibly("NFKC"),
  NFKD: () => compatibly("NFKD"),
  Lowercase: () => lower,
  StripAccents: () => (text) => text.replace(/\p{M}/gu, ""),
  BertNormalizer: (part) => (text) => {
    let found = text;
    if (part.clean_text) found = found.replace(BERT_CONTROL, "").replace(/\p{White_Space}/gu, " ");
    if (part.handle_chinese_chars) found = found.replace(CHINESE, " $& ");
    if (part.strip_accents ?? part.lowercase) found = withoutAccents(found);
    return part.lowercase ? lower(found) : found;
  },
};

const BYTE_LETTERS = (() => {
  const plain = [[33, 126], [161, 172], [174, 255]];
  const letters = [];
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    letters.push(String.fromCharCode(plain.some(([a, b]) => byte >= a && byte <= b) ? byte : next++));
  }
  return letters;
})();
const BYTES = new Map(BYTE_LETTERS.map((letter, byte) => [letter, byte]));

function byteLevel(part) {
  return (text) => {
    const whole = part.add_prefix_space && text && text[0] !== " " ? ` ${text}` : text;
    const parts = part.use_regex === false ? [whole] : cut(whole, GPT2, { keep: true });
    return parts.map((one) => Array.from(new TextEncoder().encode(one), (byte) => BYTE_LETTERS[byte]).join(""));
  };
}

function splitting(part) {
  const pattern = part.pattern.Regex === undefined ? part.pattern.String.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&") : PATTERNS[part.pattern.Regex];
  if (pattern === undefined) throw unknown(`split by ${part.pattern.Regex}`);
  const removed = part.behavior === "Removed";
  if (!removed && part.behavior !== "Isolated") throw unknown(`split ${part.behavior}`);
  // With `invert` what matches is what is kept, and what lies between is removed.
  return (text) => cut(text, pattern, part.invert && removed ? { keep: true, between: false } : { keep: !removed });
}

const PRE_TOKENIZERS = {
  Sequence: (part) => part.pretokenizers.map(preTokenizer).reduce((a, b) => (text) => a(text).flatMap(b), (text) => [text]),
  ByteLevel: byteLevel,
  Split: splitting,
  Whitespace: () => (text) => cut(text, `(?:${OF_WORD})+|${NO_WORD}+`, { keep: true, between: false }),
  WhitespaceSplit: () => (text) => cut(text, `[^${WHITE}]+`, { keep: true, between: false }),
  BertPreTokenizer: () => (text) => cut(text, `[${WHITE}]`, { keep: false }).flatMap((part) => cut(part, PUNCTUATION, { keep: true })),
};

const unknown = (what) => new InputError("tokenizer", "parts that this page knows", what, "Serve the model instead.");

function known(table, part, kind) {
  if (!(part.type in table)) throw unknown(`${kind} ${part.type}`);
  return table[part.type](part);
}
const normaliser = (part) => known(NORMALISERS, part, "normalizer");
const preTokenizer = (part) => known(PRE_TOKENIZERS, part, "pre-tokenizer");

function bytePairs(model) {
  const ranks = new Map();
  model.merges.forEach((pair, rank) => {
    const key = Array.isArray(pair) ? pair.join(" ") : pair;
    if (!ranks.has(key)) ranks.set(key, rank);
  });
  const vocabulary = model.vocab;
  const unknownId = model.unk_token === null || model.unk_token === undefined ? null : vocabulary[model.unk_token];
  const remembered = new Map();
  const merged = (word) => {
    let symbols = [];
    for (const letter of word) {
      if (letter in vocabulary) symbols.push(letter);
      else if (unknownId !== null) symbols.push(null);
    }
    for (;;) {
      let [best, at] = [Infinity, -1];
      for (let index = 0; index + 1 < symbols.length; index++) {
        if (symbols[index] === null || symbols[index + 1] === null) continue;
        const rank = ranks.get(`${symbols[index]} ${symbols[index + 1]}`);
        if (rank !== undefined && rank < best) [best, at] = [rank, index];
      }
      if (at < 0) break;
      symbols.splice(at, 2, symbols[at] + symbols[at + 1]);
    }
    return symbols.map((one) => (one === null ? unknownId : vocabulary[one]));
  };
  return (word) => {
    if (!remembered.has(word)) {
      if (remembered.size > 10_000) remembered.clear();
      remembered.set(word, merged(word));
    }
    return remembered.get(word);
  };
}

function wordPieces(model) {
  return (word) => {
    const letters = Array.from(word);
    const unknownId = model.vocab[model.unk_token];
    if (letters.length > model.max_input_chars_per_word) return [unknownId];
    const ids = [];
    for (let begin = 0; begin < letters.length; ) {
      let end = letters.length;
      const piece = () => (begin ? model.continuing_subword_prefix : "") + letters.slice(begin, end).join("");
      while (end > begin && !Object.hasOwn(model.vocab, piece())) end--;
      if (end === begin) return [unknownId];
      ids.push(model.vocab[piece()]);
      begin = end;
    }
    return ids;
  };
}

const MODELS = {
  WordLevel: (model) => (word) => [Object.hasOwn(model.vocab, word) ? model.vocab[word] : model.vocab[model.unk_token]],
  BPE: bytePairs,
  WordPiece: wordPieces,
};

// Texts between special tokens, and these by themselves, as [text, id or null].
function parted(text, tokens) {
  if (!tokens.length) return [[text, null]];
  const parts = [];
  let end = 0;
  for (let at = 0; at < text.length; ) {
    const found = tokens.filter((one) => text.startsWith(one.content, at)).sort((a, b) => b.content.length - a.content.length)[0];
    if (!found) {
      at += 1;
      continue;
    }
    let [begin, after] = [at, at + found.content.length];
    if (found.lstrip) while (begin > end && /\p{White_Space}/u.test(text[begin - 1])) begin--;
    if (found.rstrip) while (after < text.length && /\p{White_Space}/u.test(text[after])) after++;
    if (begin > end) parts.push([text.slice(end, begin), null]);
    parts.push(["", found.id]);
    at = end = after;
  }
  if (end < text.length) parts.push([text.slice(end), null]);
  return parts;
}

/** A tokenizer of its JSON: from texts to ids and back. */
export class Tokenizer {
  constructor(definition) {
    const made = typeof definition === "string" ? JSON.parse(definition) : definition;
    const model = { ...made.model, vocab: Object.assign(Object.create(null), made.model.vocab) };
    this.normalise = made.normalizer ? normaliser(made.normalizer) : (text) => text;
    this.split = made.pre_tokenizer ? preTokenizer(made.pre_tokenizer) : (text) => [text];
    this.idsOf = known(MODELS, { ...model, vocab: model.vocab }, "model");
    const added = (made.added_tokens ?? []).filter((one) => one.content);
    this.raw = added.filter((one) => !one.normalized);
    this.normalised = added.filter((one) => one.normalized).map((one) => ({ ...one, content: this.normalise(one.content) }));
    this.special = new Set(added.filter((one) => one.special).map((one) => one.id));
    this.bytes = made.decoder?.type === "ByteLevel";
    this.texts = new Map(Object.entries(model.vocab).map(([token, id]) => [id, token]));
    for (const one of added) this.texts.set(one.id, one.content);
  }

  /** Ids of the tokens of a text. */
  encode(text) {
    const ids = [];
    for (const [outer, special] of parted(clean(text), this.raw)) {
      if (special !== null) ids.push(special);
      else {
        for (const [part, id] of parted(this.normalise(outer), this.normalised)) {
          if (id !== null) ids.push(id);
          else for (const word of this.split(part)) if (word) ids.push(...this.idsOf(word));
        }
      }
    }
    return ids.filter((id) => id !== undefined);
  }

  /** The text of ids, special ones left out. */
  decode(ids) {
    const tokens = ids.filter((id) => !this.special.has(id)).map((id) => this.texts.get(id) ?? "");
    if (!this.bytes) return tokens.join(" ");
    return new TextDecoder().decode(Uint8Array.from(tokens.join(""), (letter) => BYTES.get(letter) ?? 0x3f));
  }
}

const made = new Map();

/** The tokenizer of a `tokenise` operation, made once. */
export function tokenizerOf(operation) {
  if (!made.has(operation.tokenizer)) made.set(operation.tokenizer, new Tokenizer(operation.tokenizer));
  return made.get(operation.tokenizer);
}

/** Token ids of a text, cut to what the model takes. */
export function tokenise(operation, text) {
  if (typeof text !== "string") throw new InputError("input", "text", text === null ? "NoneType" : typeof text, "Give a str.");
  const ids = tokenizerOf(operation).encode(text);
  const { max_length: most, keep } = operation;
  return keep === "last" ? ids.slice(Math.max(0, ids.length - most)) : ids.slice(0, most);
}

/** The text of token ids; what has no text of its own, as an unknown token, is U+FFFD. */
export function detokenise(operation, ids) {
  const tokenizer = tokenizerOf(operation);
  const { kind } = operation;
  if (kind === "bpe" || kind === "file") {
    const special = kind === "file" ? [] : [0, 1];
    let text = "";
    let run = [];
    for (const id of ids) {
      if (special.includes(id)) {
        text += tokenizer.decode(run) + (id ? UNREADABLE : "");
        run = [];
      } else run.push(id);
    }
    return text + tokenizer.decode(run);
  }
  const words = ids.map((id) => (id === 0 ? "" : id === 1 ? UNREADABLE : tokenizer.texts.get(id) ?? ""));
  return kind === "character" ? words.join("") : words.join(" ").replace(/ ?\n ?/g, "\n");
}

/** What each token is called, to be shown. */
export const tokenNames = (operation, ids) => ids.map((id) => (tokenizerOf(operation).bytes ? detokenise(operation, [id]) : tokenizerOf(operation).texts.get(id) ?? UNREADABLE));

/** The two texts of a raw input: two in a list, an object by the columns' names, or a text with a tab between. */
export function twoTexts(pair, raw) {
  let given = raw;
  if (typeof raw === "string") given = raw.split("\t");
  else if (raw && !Array.isArray(raw)) {
    const names = [pair.columns, ["first", "second"]].find((two) => two.every((name) => Object.hasOwn(raw, name))) ?? [];
    given = names.map((name) => raw[name]);
  }
  if (Array.isArray(given) && given.length === 2 && given.every((text) => typeof text === "string")) return given;
  throw new InputError("input", `two texts, ${pair.columns.join(" and ")}`, Array.isArray(given) ? `${given.length}` : typeof raw);
}
