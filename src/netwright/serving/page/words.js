// The page's words in the reader's language, and numbers as that language writes them.

import { el } from "./dom.js";

const LANGUAGES = ["en", "zh"];
const KEPT = "netwright-language";
let table = {};
export let language = "en";

/** The language chosen before in this tab, or the first of the browser's that we speak. */
export function preferred() {
  let kept = null;
  try {
    kept = sessionStorage.getItem(KEPT);
  } catch {
    // Where the browser forbids storage the choice is not kept.
  }
  const wanted = [kept, ...navigator.languages].map((one) => String(one).toLowerCase().split("-")[0]);
  return wanted.find((one) => LANGUAGES.includes(one)) ?? "en";
}

/** Speak a language from now on; what is told already is told again. */
export async function speak(chosen) {
  const reply = await fetch(new URL(`${chosen}.json`, import.meta.url));
  table = await reply.json();
  language = chosen;
  document.documentElement.lang = chosen === "zh" ? "zh-CN" : "en";
  retell(document);
}

/** Remember in this tab what was chosen. */
export function keep(chosen) {
  try {
    sessionStorage.setItem(KEPT, chosen);
  } catch {
    // As above.
  }
}

/** A sentence, with its {slots} filled. */
export function word(key, slots = {}) {
  const sentence = table[key] ?? key;
  return sentence.replace(/\{(\w+)\}/g, (whole, name) => (name in slots ? String(slots[name]) : whole));
}

const slotsOf = new WeakMap();

/** Let an element say a sentence, also after the language changes. */
export function say(element, key, slots = {}) {
  element.dataset.word = key;
  slotsOf.set(element, slots);
  element.textContent = word(key, slots);
  return element;
}

/** An element that says a sentence. */
export const said = (tag, key, attributes = {}, slots = {}) => say(el(tag, attributes), key, slots);

/** Let an attribute, as aria-label or placeholder, say a sentence. */
export function label(element, attribute, key, slots = {}) {
  element.dataset[attribute === "placeholder" ? "holder" : "label"] = key;
  slotsOf.set(element, { ...slotsOf.get(element), ...slots });
  element.setAttribute(attribute, word(key, slots));
  return element;
}

function retell(root) {
  for (const one of root.querySelectorAll("[data-word]")) one.textContent = word(one.dataset.word, slotsOf.get(one));
  for (const one of root.querySelectorAll("[data-label]")) {
    one.setAttribute("aria-label", word(one.dataset.label, slotsOf.get(one)));
  }
  for (const one of root.querySelectorAll("[data-holder]")) {
    one.setAttribute("placeholder", word(one.dataset.holder, slotsOf.get(one)));
  }
}

/** A share in percent: what is not all is never called 100 %, what is not nothing never 0 %. */
export function percent(share) {
  const format = new Intl.NumberFormat(language, {
    style: "percent",
    minimumFractionDigits: 1,
    maximumFractionDigits: 1,
  });
  if (share < 1 && share >= 0.9995) return `> ${format.format(0.999)}`;
  if (share > 0 && share < 0.0005) return `< ${format.format(0.001)}`;
  return format.format(share);
}

/** A number with about four digits that count. */
export function number(value) {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) return Number(value.toPrecision(4)).toExponential();
  const options = size >= 1000 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 4 };
  return new Intl.NumberFormat(language, options).format(value);
}

const LONGEST = 28; // characters of a name in a row
const LONGEST_ROW = 160;

/** Names in a row, the first few of many. */
export function listed(names, most = 6) {
  const between = language === "zh" ? "、" : ", ";
  let shown = "";
  for (const [at, name] of names.entries()) {
    const short = [...name].length > LONGEST ? `${[...name].slice(0, LONGEST - 1).join("")}…` : name;
    if (at === most || shown.length + short.length > LONGEST_ROW) return `${shown}${between}…`;
    shown += at ? `${between}${short}` : short;
  }
  return shown;
}
