// An answer as it is shown: the fields of a Prediction that its task gives, whatever they are.

import { chart } from "./chart.js";
import { el } from "./dom.js";
import { label, listed, number, percent, said, word } from "./words.js";

const SHOWN_CLASSES = 5;
const ALL_OF = 10; // so few are all shown
// Characters of a label that is no longer written huge, or large.
const [HUGE, LARGE] = [3, 14];
const KINDS = 8; // colours of entities
const ODD = new Set([
  ",",
  ".",
  ";",
  ":",
  "!",
  "?",
  ")",
  "]",
  "}",
  "，",
  "。",
  "；",
  "：",
  "！",
  "？",
  "、",
  "）",
  "'s",
  "n't",
  "%",
]);
const IDEOGRAPHS = /[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]/;
const SPACE = { " ": "␣", "\n": "⏎", "\t": "⇥" };

/** A label that could not be seen, as one blank, made visible. */
export const visible = (text) =>
  text === "" ? "∅" : text.trim() === "" ? [...text].map((one) => SPACE[one] ?? one).join("") : text;

function big(text) {
  const size = [...text].length;
  return el("p", { class: size > LARGE ? "big long" : size > HUGE ? "big word" : "big" }, el("bdi", {}, visible(text)));
}

/** Bars of classes, the most probable first; those beyond the first few behind a button. */
export function bars(probabilities, { most = SHOWN_CLASSES, threshold = null } = {}) {
  const ordered = Object.entries(probabilities).sort((a, b) => b[1] - a[1]);
  const shown = ordered.length <= ALL_OF ? ordered.length : most;
  const row = ([name, share], at) =>
    el(
      "li",
      { class: (threshold === null ? at === 0 : share > threshold) ? "first" : null, vars: { "--v": String(share) } },
      el("span", { class: "name", title: name }, el("bdi", {}, visible(name))),
      el("span", { class: "track", "aria-hidden": "true" }, el("i")),
      el("span", { class: "share" }, percent(share)),
    );
  const list = el(
    "ol",
    { class: threshold === null ? "bars" : "bars cut", vars: threshold === null ? {} : { "--t": String(threshold) } },
    ordered.slice(0, shown).map(row),
  );
  label(list, "aria-label", "classes_label");
  if (shown === ordered.length) return list;
  const rest = el(
    "ol",
    { class: "bars", start: shown + 1 },
    ordered.slice(shown).map((one, at) => row(one, shown + at)),
  );
  label(rest, "aria-label", "classes_label");
  return [list, el("details", { class: "rest" }, said("summary", "all_classes", {}, { count: ordered.length }), rest)];
}

function classified({ label: name, confidence, probabilities }) {
  return [
    el("div", { class: "figure" }, big(name), said("p", "sure", { class: "sure" }, { share: percent(confidence) })),
    probabilities ? bars(probabilities) : null,
  ];
}

function labelled({ labels, probabilities }, spec) {
  const threshold = spec.answer?.threshold ?? 0.5;
  const head = labels.length
    ? el(
        "p",
        { class: "chips" },
        labels.map((one) => el("span", { class: "chip" }, el("bdi", {}, one))),
      )
    : said("p", "no_label", { class: "big long" }, { share: percent(threshold) });
  return [head, bars(probabilities, { threshold })];
}

function measured({ value }, spec) {
  const names = spec.targets ?? spec.answer?.targets ?? [];
  if (value.length === 1) {
    return [
      el("div", { class: "figure" }, big(number(value[0])), names[0] ? el("p", { class: "sure" }, names[0]) : null),
    ];
  }
  return [
    el(
      "dl",
      { class: "values" },
      value
        .slice(0, 100)
        .map((one, at) => el("div", {}, el("dt", {}, names[at] ?? String(at + 1)), el("dd", {}, number(one)))),
    ),
  ];
}

function foretold({ forecast }, spec, { history, time }) {
  return Object.entries(forecast).flatMap(([name, steps]) => {
    const figure = chart({ title: name, past: history?.[name] ?? [], times: history?.[time] ?? null, steps });
    const around = steps.some((one) => Number.isFinite(one.low));
    const head = el(
      "tr",
      {},
      ["time", "value", ...(around ? ["low", "high"] : [])].map((key) =>
        said("th", key, { scope: "col", class: key === "time" ? null : "num" }),
      ),
    );
    const cells = (step) =>
      [step.value, ...(around ? [step.low, step.high] : [])].map((one) =>
        el("td", { class: "num" }, Number.isFinite(one) ? number(one) : "–"),
      );
    const rows = steps.map((step) => el("tr", {}, el("th", { scope: "row" }, step.time), cells(step)));
    const table = el(
      "div",
      { class: "scroll", tabindex: 0, role: "region" },
      el("table", {}, el("thead", {}, head), el("tbody", {}, rows)),
    );
    label(table, "aria-label", "as_table");
    return [figure, el("details", { class: "rest" }, said("summary", "as_table"), table)];
  });
}

// Blanks between words where their script has them.
function between(before, after) {
  if (before === undefined || ODD.has(after) || ["(", "[", "“", "‘"].includes(before)) return "";
  return IDEOGRAPHS.test(before.at(-1)) || IDEOGRAPHS.test(after[0] ?? "") ? "" : " ";
}

/** Words as they are written, one behind the other. */
export const sentence = (words) => words.map((one, at) => between(words[at - 1], one) + one).join("");

const typeOf = (tag) => tag.replace(/^[BIESLU]-/, "");

/** Types of entities where tags are so made, as B-person and I-person; else null. */
export function typesOf(tags) {
  const made = tags.includes("O") && tags.every((one) => one === "O" || one !== typeOf(one));
  return made ? [...new Set(tags.filter((one) => one !== "O").map(typeOf))] : null;
}

function kindsOf(spec, spans) {
  const known = (spec.classes ?? []).filter((one) => one !== "O").map(typeOf);
  return [...new Set([...known, ...spans.map((one) => one.type)])];
}

function tagged({ words = [], tags, entities, confidences = [] }, spec) {
  const spans =
    entities ?? tags.map((tag, at) => ({ type: tag, begin: at, end: at + 1 })).filter((one) => one.type !== "O");
  const kinds = kindsOf(spec, spans);
  const starts = new Map(spans.map((one) => [one.begin, one]));
  const written = el("p", { class: entities ? "tagged" : "tagged each" });
  for (let at = 0; at < words.length;) {
    const span = starts.get(at);
    const end = span ? span.end : at + 1;
    const text = sentence(words.slice(at, end));
    written.append(between(words[at - 1], words[at]));
    if (span) {
      const surest = confidences.slice(at, end).reduce((least, one) => Math.min(least, one), 1);
      const title = confidences.length ? `${span.type} ${percent(surest)}` : span.type;
      written.append(
        el(
          "mark",
          { class: `k${kinds.indexOf(span.type) % KINDS}`, title },
          el("bdi", {}, text),
          el("small", {}, span.type),
        ),
      );
    } else written.append(text);
    at = end;
  }
  if (spans.length) return [written];
  return [written, said("p", "no_entity", { class: "fine" })];
}

function several({ answers }, spec, given) {
  return Object.entries(answers).map(([name, answer]) => {
    const own = spec.answers?.[name] ?? spec.answer?.answers?.[name] ?? {};
    return el("div", { class: "one" }, el("h3", {}, name), show(answer, own, given));
  });
}

/**
 * The elements of an answer.
 *
 * @param answer A Prediction.
 * @param spec Of the model.
 * @param given What was asked: `raw`; of series also their columns as `history`, and the name of the `time` among them.
 */
export function show(answer, spec, given = {}) {
  const note = answer.note ? el("p", { class: "note" }, answer.note) : null;
  const parts = [];
  if (answer.error !== undefined) parts.push(el("p", { class: "problem" }, answer.error));
  else if (answer.answers) parts.push(...several(answer, spec, given));
  else if (answer.forecast) parts.push(...foretold(answer, spec, given));
  else if (answer.tags) parts.push(...tagged(answer, spec));
  else if (answer.labels) parts.push(...labelled(answer, spec));
  else if (answer.continuation !== undefined)
    parts.push(
      el(
        "p",
        { class: "written" },
        typeof given.raw === "string" ? el("span", { class: "given-text" }, given.raw) : null,
        el("mark", {}, answer.continuation),
      ),
    );
  else if (answer.text !== undefined)
    parts.push(
      answer.text
        ? el("p", { class: "spoken" }, el("bdi", {}, answer.text))
        : said("p", "nothing_said", { class: "spoken none" }),
    );
  else if (answer.value) parts.push(...measured(answer, spec));
  else if (answer.label !== undefined) parts.push(...classified(answer));
  return el("div", { class: "shown" }, parts, note);
}

/** The answer in one sentence, for those who hear the page. */
export function told(answer) {
  if (answer.error !== undefined) return answer.error;
  if (answer.answers)
    return Object.entries(answer.answers)
      .map(([name, one]) => `${name}: ${told(one)}`)
      .join("; ");
  if (answer.forecast) {
    return Object.entries(answer.forecast)
      .map(([name, steps]) =>
        word("chart_label", {
          name,
          from: number(steps[0].value),
          to: number(steps.at(-1).value),
          count: steps.length,
        }),
      )
      .join(" ");
  }
  if (answer.tags) {
    const spans = answer.entities ?? [];
    return spans.length
      ? spans.map((one) => `${sentence(answer.words.slice(one.begin, one.end))}: ${one.type}`).join("; ")
      : word("no_entity");
  }
  if (answer.labels) return answer.labels.length ? listed(answer.labels) : word("no_label", { share: percent(0.5) });
  if (answer.continuation !== undefined) return answer.continuation;
  if (answer.text !== undefined) return answer.text || word("nothing_said");
  if (answer.value) return listed(answer.value.map(number));
  return word("told", { label: answer.label, share: percent(answer.confidence) });
}
