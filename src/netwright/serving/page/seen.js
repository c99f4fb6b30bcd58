// What the model saw after preprocessing, and where it looked: heat over a picture, tokens shaded, columns ranked.

import { el } from "./dom.js";
import { visible } from "./answer.js";
import { number, said, word } from "./words.js";

const MOST_COLUMNS = 8;
const MOST_TOKENS = 400;

const figure = (key, content, note = null) => el("figure", {}, said("figcaption", key), content, note);
const largest = (values) => Math.max(1e-9, ...values.map(Math.abs));

function heated(png, grid) {
  const rows = grid.length;
  const columns = grid[0].length;
  const most = largest(grid.flat());
  const cells = grid
    .flat()
    .map((drop) =>
      el("i", { class: drop < 0 ? "against" : null, vars: { "--a": (Math.abs(drop) / most).toFixed(3) } }),
    );
  return el(
    "span",
    { class: "heated", vars: { "--columns": columns, "--rows": rows } },
    el("img", { src: png, alt: "", class: "pixels" }),
    el("span", { class: "heat", "aria-hidden": "true" }, cells),
  );
}

function whereInWords(grid) {
  // The strongest cell, said as people say it: of three by three places.
  const flat = grid.flat();
  const at = flat.indexOf(Math.max(...flat));
  if (!(flat[at] > 0)) return word("looked_nowhere");
  const third = (place, count) => Math.min(2, Math.floor((3 * (place + 0.5)) / count));
  const row = ["top", "middle", "bottom"][third(Math.floor(at / grid[0].length), grid.length)];
  const column = ["left", "centre", "right"][third(at % grid[0].length, grid[0].length)];
  return word(`looked_${row}_${column}`);
}

function picture(seen, where) {
  const image = el("img", { src: seen.png, alt: "", class: "pixels" });
  const size = el("p", { class: "fine" });
  image.addEventListener("load", () => {
    size.textContent = `${image.naturalWidth} × ${image.naturalHeight}`;
    image.alt = word("seen_picture", { size: size.textContent });
    // Small pictures stay crisp when they are enlarged, large ones smooth.
    image.classList.toggle("smooth", image.naturalWidth > 96);
  });
  const parts = [figure("seen", el("span", { class: "framed" }, image), size)];
  if (where.grid?.length)
    parts.push(figure("looked", heated(seen.png, where.grid), el("p", { class: "fine" }, whereInWords(where.grid))));
  return el("div", { class: "pictures" }, parts);
}

function strip(drops) {
  const most = largest(drops);
  const cells = drops.map((drop) =>
    el("i", { class: drop < 0 ? "against" : null, vars: { "--a": (Math.abs(drop) / most).toFixed(3) } }),
  );
  return el("span", { class: "strip", "aria-hidden": "true" }, cells);
}

function spectrum(seen, where) {
  const image = el("img", { src: seen.png, alt: word("seen_sound"), class: "spectrum" });
  const drops = where.stretches;
  const note = drops ? said("p", "strip_note", { class: "fine" }) : null;
  return figure("seen_heard", el("span", { class: "spectrogram" }, image, drops ? strip(drops) : null), note);
}

const stretches = (drops) =>
  figure(
    "looked_stretches",
    el("span", { class: "spectrogram" }, strip(drops)),
    said("p", "strip_note", { class: "fine" }),
  );

function tokens(list, where) {
  const drops = where.tokens ?? [];
  const most = largest(drops.map((one) => one ?? 0));
  const shown = list.slice(0, MOST_TOKENS).map((token, at) => {
    const drop = drops[at];
    if (drop === undefined || drop === null) return el("span", { class: "token" }, visible(String(token)));
    const kind = drop < 0 ? "token shaded against" : "token shaded";
    return el(
      "span",
      { class: kind, vars: { "--a": (Math.abs(drop) / most).toFixed(3) }, title: number(drop) },
      visible(String(token)),
    );
  });
  if (list.length > MOST_TOKENS) shown.push(el("span", { class: "fine" }, `… ${list.length}`));
  const note = said("p", drops.length ? "tokens_note" : "tokens_only", { class: "fine" }, { count: list.length });
  return figure(drops.length ? "seen_tokens" : "seen", el("p", { class: "tokens" }, shown), note);
}

function columns(drops) {
  const ordered = Object.entries(drops)
    .sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]))
    .slice(0, MOST_COLUMNS);
  const most = largest(ordered.map((one) => one[1]));
  const rows = ordered.map(([name, drop]) =>
    el(
      "li",
      { class: drop < 0 ? "against" : "first", vars: { "--v": (Math.abs(drop) / most).toFixed(3) } },
      el("span", { class: "name", title: name }, name),
      el("span", { class: "track", "aria-hidden": "true" }, el("i")),
      el("span", { class: "share" }, number(Number(drop.toPrecision(2))).replace("-", "−")),
    ),
  );
  return figure("looked_columns", el("ol", { class: "bars" }, rows), said("p", "columns_note", { class: "fine" }));
}

/** What was seen and where the model looked, as the server tells it; empty where it tells nothing. */
export function showSeen(told, kind) {
  const where = told.where?.kind ? { [told.where.kind]: told.where.values } : (told.where ?? {});
  const seen =
    typeof told.seen === "string"
      ? { png: told.seen }
      : Array.isArray(told.seen)
        ? { tokens: told.seen }
        : (told.seen ?? {});
  const parts = [];
  if (seen.png) parts.push(kind === "sound" ? spectrum(seen, where) : picture(seen, where));
  else if (where.stretches?.length) parts.push(stretches(where.stretches));
  if (seen.tokens?.length) parts.push(tokens(seen.tokens, where));
  if (where.columns && Object.keys(where.columns).length) parts.push(columns(where.columns));
  return parts;
}
