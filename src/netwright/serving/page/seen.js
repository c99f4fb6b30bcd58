// What the model saw after preprocessing, and where it looked: heat over a picture, tokens shaded, columns ranked.

import { el } from "./dom.js";
import { visible } from "./answer.js";
import { number, said, word } from "./words.js";

const MOST_COLUMNS = 8;
const MOST_TOKENS = 400;

const figure = (key, content, note = null) => el("figure", {}, said("figcaption", key), content, note);
// A fall of a probability that matters; where no part makes as much, colours are paler, and it is said.
const MATTERS = 0.02;
const PALE = 0.45;
const NONE = 1e-5;

// How strongly each of some falls is coloured, 0 to 1, and whether it speaks against the answer.
function shading(drops, signed) {
  const most = Math.max(NONE, ...drops.map((one) => Math.abs(one ?? 0)));
  const strength = signed ? PALE + (1 - PALE) * Math.min(1, most / MATTERS) : 1;
  return drops.map((drop) => ({
    class: drop < 0 ? "against" : null,
    vars: { "--a": ((strength * Math.abs(drop ?? 0)) / most).toFixed(3) },
  }));
}

const shades = (drops, signed) => shading(drops, signed).map((one) => el("i", one));

const heated = (png, grid, signed) =>
  el(
    "span",
    { class: "heated", vars: { "--columns": grid[0].length, "--rows": grid.length } },
    el("img", { src: png, alt: "", class: "pixels" }),
    el("span", { class: "heat", "aria-hidden": "true" }, shades(grid.flat(), signed)),
  );

// The strongest cell, said as people say it: of three by three places.
function whereInWords(grid, signed) {
  const flat = grid.flat();
  const at = flat.indexOf(Math.max(...flat));
  if (!(flat[at] > NONE)) return word("looked_nowhere");
  const third = (place, count) => Math.min(2, Math.floor((3 * (place + 0.5)) / count));
  const row = ["top", "middle", "bottom"][third(Math.floor(at / grid[0].length), grid.length)];
  const column = ["left", "centre", "right"][third(at % grid[0].length, grid[0].length)];
  const place = word(`looked_${row}_${column}`);
  return signed && flat[at] < MATTERS ? word("looked_little", { place }) : place;
}

function picture(seen, where, signed) {
  const image = el("img", { src: seen.png, alt: "", class: "pixels" });
  const size = el("p", { class: "fine" });
  image.addEventListener("load", () => {
    size.textContent = `${image.naturalWidth} × ${image.naturalHeight}`;
    image.alt = word("seen_picture", { size: size.textContent });
    // Small pictures stay crisp when they are enlarged, large ones smooth.
    image.classList.toggle("smooth", image.naturalWidth > 96);
  });
  const parts = [figure("seen", el("span", { class: "framed" }, image), size)];
  if (where.grid?.length) {
    const note = el("p", { class: "fine" }, whereInWords(where.grid, signed));
    parts.push(figure("looked", heated(seen.png, where.grid, signed), note));
  }
  return el("div", { class: "pictures" }, parts);
}

const strip = (drops, signed) => el("span", { class: "strip", "aria-hidden": "true" }, shades(drops, signed));
const stripNote = (signed) => said("p", signed ? "strip_note" : "strip_moved", { class: "fine" });

function spectrum(seen, where, signed) {
  const image = el("img", { src: seen.png, alt: word("seen_sound"), class: "spectrum" });
  const drops = where.stretches?.some((one) => Math.abs(one) > NONE) ? where.stretches : null;
  const below = drops ? strip(drops, signed) : null;
  return figure("seen_heard", el("span", { class: "spectrogram" }, image, below), drops ? stripNote(signed) : null);
}

const stretches = (drops, signed) =>
  figure("looked_stretches", el("span", { class: "spectrogram" }, strip(drops, signed)), stripNote(signed));

function tokens(list, where, signed) {
  const drops = where.tokens ?? [];
  const shaded = shading(drops, signed);
  const shown = list.slice(0, MOST_TOKENS).map((token, at) => {
    const own = shaded[at];
    const name = own ? ["token shaded", own.class].filter(Boolean).join(" ") : "token";
    return el("span", { class: name, vars: own?.vars ?? {} }, visible(String(token)));
  });
  if (list.length > MOST_TOKENS) shown.push(el("span", { class: "fine" }, `… ${list.length}`));
  const key = !drops.length ? "tokens_only" : signed ? "tokens_note" : "tokens_moved";
  const note = said("p", key, { class: "fine" }, { count: list.length });
  return figure(drops.length ? "seen_tokens" : "seen", el("p", { class: "tokens" }, shown), note);
}

function columns(drops, signed) {
  const ordered = Object.entries(drops)
    .sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]))
    .slice(0, MOST_COLUMNS);
  const most = Math.max(NONE, ...ordered.map((one) => Math.abs(one[1])));
  const rows = ordered.map(([name, drop]) =>
    el(
      "li",
      { class: drop < 0 ? "against" : drop > 0 ? "first" : null, vars: { "--v": (Math.abs(drop) / most).toFixed(3) } },
      el("span", { class: "name", title: name }, name),
      el("span", { class: "track", "aria-hidden": "true" }, el("i")),
      el("span", { class: "share" }, number(Number(drop.toPrecision(2))).replace("-", "−")),
    ),
  );
  return figure(
    "looked_columns",
    el("ol", { class: "bars" }, rows),
    said("p", signed ? "columns_note" : "columns_moved", { class: "fine" }),
  );
}

/**
 * What was seen and where the model looked, as the server tells it; empty where it tells nothing.
 *
 * @param told `seen`, `where`, and whether what is told is `signed`: how far a probability falls, and not how far the
 *     answer moves.
 */
export function showSeen(told, kind) {
  const signed = told.signed ?? true;
  const where = told.where?.kind ? { [told.where.kind]: told.where.values } : (told.where ?? {});
  const seen =
    typeof told.seen === "string"
      ? { png: told.seen }
      : Array.isArray(told.seen)
        ? { tokens: told.seen }
        : (told.seen ?? {});
  const parts = [];
  if (seen.png) parts.push(kind === "sound" ? spectrum(seen, where, signed) : picture(seen, where, signed));
  else if (where.stretches?.length) parts.push(stretches(where.stretches, signed));
  if (seen.tokens?.length) parts.push(tokens(seen.tokens, where, signed));
  if (where.columns && Object.keys(where.columns).length) parts.push(columns(where.columns, signed));
  return parts;
}
