// The input of tables: a form with a field for each column. What is left empty is unknown.

import { el, later } from "./dom.js";
import { chooser } from "./files.js";
import { label, number, said } from "./words.js";

const TYPING_MS = 250;
const MOST_OPTIONS = 60; // more are typed, with a list to choose from

function control(field, at, changed) {
  const id = `field-${at}`;
  if (field.kind === "category" && field.values.length <= MOST_OPTIONS) {
    const options = field.values.filter((one) => one !== "").map((one) => el("option", { value: one }, one));
    return [el("select", { id, on: { change: changed } }, said("option", "unknown", { value: "" }), options)];
  }
  if (field.kind === "category") {
    const list = el(
      "datalist",
      { id: `${id}-values` },
      field.values.map((one) => el("option", { value: one })),
    );
    return [el("input", { id, list: list.id, on: { input: changed } }), list];
  }
  if (field.kind === "date")
    return [el("input", { id, type: field.hour ? "datetime-local" : "date", on: { input: changed } })];
  // Not type=number: that would hide what was typed wrongly, and write 1e5 its own way.
  if (field.kind === "number")
    return [el("input", { id, inputmode: "decimal", autocomplete: "off", on: { input: changed } })];
  return [el("input", { id, autocomplete: "off", on: { input: changed } })];
}

function pictureControl(field, set) {
  const name = el("span", { class: "fine" });
  const take = (file) => {
    const reader = new FileReader();
    reader.onload = () => {
      name.textContent = file.name;
      set(reader.result); // a data URI
    };
    reader.readAsDataURL(file);
  };
  return el("span", { class: "together" }, ...chooser("choose_picture", "image/*", take), name);
}

// A long name may break after its underscores.
const breakable = (name) => name.split(/(?<=_)/).flatMap((part, at) => (at ? [el("wbr"), part] : [part]));

const rounded = (value) => number(Number(value.toPrecision(3)));

const typed = (field, text) => {
  const clean = text.trim();
  if (clean === "") return null;
  // A comma is how many write a decimal point.
  const value = field.kind === "number" ? Number(clean.replace(/^([+-]?\d+),(\d+)$/, "$1.$2")) : clean;
  return field.kind === "number" && Number.isNaN(value) ? clean : value;
};

/** The form of a table's columns. */
export function formInput({ fields, ask, spec }) {
  const pictures = {};
  const controls = new Map();
  const row = () => {
    const found = { ...pictures };
    for (const [field, input] of controls) found[field.name] = typed(field, input.value);
    return found;
  };
  const send = later(() => ask(row()), TYPING_MS);
  const cells = fields.map((field, at) => {
    if (field.kind === "image") {
      const set = (picture) => {
        pictures[field.name] = picture;
        send();
      };
      return el("div", { class: "cell" }, el("span", { class: "name" }, field.name), pictureControl(field, set));
    }
    const [input, ...more] = control(field, at, send);
    controls.set(field, input);
    const usual =
      field.kind === "number" && Number.isFinite(field.low)
        ? said("small", "usual", { id: `usual-${at}` }, { low: rounded(field.low), high: rounded(field.high) })
        : null;
    if (usual) input.setAttribute("aria-describedby", usual.id);
    if (input.tagName === "INPUT") label(input, "placeholder", "unknown");
    return el(
      "div",
      { class: field.hour ? "cell wide" : "cell" },
      el("label", { for: input.id, class: "name" }, breakable(field.name)),
      input,
      ...more,
      usual,
    );
  });
  const root = el(
    "form",
    { class: cells.length > 6 ? "form many" : "form", on: { submit: (event) => event.preventDefault() } },
    cells,
  );
  const take = (sample) => {
    const given = sample?.row ?? sample;
    for (const [field, input] of controls) {
      const value = given[field.name];
      const text = value === null || value === undefined ? "" : String(value);
      if (input.tagName === "SELECT" && ![...input.options].some((one) => one.value === text))
        input.append(el("option", { value: text }, text));
      // 52.0 in a file is 52.
      const plain = field.kind === "number" && text && Number.isFinite(Number(text)) ? String(Number(text)) : text;
      input.value = field.kind === "date" ? text.replace(" ", "T").slice(0, field.hour ? 16 : 10) : plain;
    }
    for (const field of fields)
      if (field.kind === "image" && given[field.name]) pictures[field.name] = given[field.name];
    send.stop();
    ask(row());
  };
  if (!spec.samples?.length) {
    // Without an example the form begins with what is usual.
    for (const [field, input] of controls)
      if (Number.isFinite(field.usual)) input.value = String(Number(field.usual.toPrecision(3)));
    queueMicrotask(() => ask(row()));
  }
  return { element: root, take, first: true };
}
