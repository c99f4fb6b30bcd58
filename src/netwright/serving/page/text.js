// The input of texts: one, two of them, a sentence to tag, or numbers as JSON; answers come while one types.

import { sentence } from "./answer.js";
import { el, later } from "./dom.js";
import { label, said, word } from "./words.js";

const TYPING_MS = 250;
const WRITING_MS = 700;
const SHOWN = 60; // characters of a sample on its button

const short = (text) => (text.length > SHOWN ? `${text.slice(0, SHOWN - 1)}…` : text);

function box(name, key, rows, changed) {
  const area = el("textarea", { id: `text-${name}`, rows, autocapitalize: "off", on: { input: changed } });
  label(area, "placeholder", key);
  return area;
}

/** One text. */
export function textInput({ fields, ask, spec }) {
  const words = fields[0].kind === "words";
  const key = words ? "type_sentence" : spec.task === "next_token" ? "type_beginning" : "type_text";
  // What writes on takes longer than what answers.
  const deep = spec.task !== "next_token";
  const send = later(
    () => ask(area.value.trim() ? area.value : null, { explain: deep }),
    deep ? TYPING_MS : WRITING_MS,
  );
  const area = box("one", key, 5, send);
  const take = (sample) => {
    const raw = sample?.text ?? sample;
    area.value = Array.isArray(raw) ? sentence(raw) : String(raw);
    send.stop();
    // Words that are given apart stay apart.
    ask(Array.isArray(raw) ? raw : area.value, { explain: deep });
  };
  const root = el("div", { class: "text" }, said("label", key, { for: area.id, class: "quiet" }), area);
  const sample = (one) => short(Array.isArray(one) ? sentence(one) : String(one?.text ?? one));
  return { element: root, take, sample, focus: () => area.focus() };
}

/** Two texts, by the names of their columns. */
export function pairInput({ fields, ask }) {
  const names = fields.map((one) => one.name);
  const value = () => areas.map((one) => one.value);
  const send = later(
    () =>
      ask(
        value().some((one) => one.trim()) ? Object.fromEntries(names.map((name, at) => [name, areas[at].value])) : null,
      ),
    TYPING_MS,
  );
  const areas = names.map((name, at) => box(at, "type_text", 3, send));
  const root = el(
    "div",
    { class: "text pair" },
    names.map((name, at) => [el("label", { for: areas[at].id }, name), areas[at]]),
  );
  const parts = (sample) =>
    Array.isArray(sample) ? sample : names.map((name, at) => sample[name] ?? sample[["first", "second"][at]]);
  const take = (sample) => {
    areas.forEach((area, at) => (area.value = parts(sample)[at] ?? ""));
    send.stop();
    ask(Object.fromEntries(names.map((name, at) => [name, areas[at].value])));
  };
  return { element: root, take, sample: (one) => short(parts(one).join(" / ")), focus: () => areas[0].focus() };
}

/** Arrays of numbers, or anything else, written as JSON. */
export function numbersInput({ fields, ask, complain }) {
  const send = later(() => {
    if (!area.value.trim()) return ask(null);
    try {
      return ask(JSON.parse(area.value));
    } catch (error) {
      return complain(word("no_json", { why: error.message }));
    }
  }, TYPING_MS);
  const area = box("json", "type_json", 8, send);
  area.spellcheck = false;
  area.classList.add("code");
  const shapes = fields.map(
    (one) =>
      `${one.name}: ${one.dtype ?? ""} (${(one.shape ?? []).map((size) => (size < 0 ? "…" : size)).join(" × ")})`,
  );
  const root = el(
    "div",
    { class: "text" },
    said("label", "type_json", { for: area.id, class: "quiet" }),
    area,
    el("p", { class: "fine" }, shapes.join(" · ")),
  );
  const take = (sample) => {
    area.value = JSON.stringify(sample);
    send.stop();
    ask(sample);
  };
  return { element: root, take, sample: (one) => short(JSON.stringify(one)), focus: () => area.focus() };
}
