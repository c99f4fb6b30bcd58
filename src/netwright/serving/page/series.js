// The input of series: pasted numbers, a file of them, and a drawing of what was understood.

import { chart } from "./chart.js";
import { el, later } from "./dom.js";
import { asCsv, columnsOf } from "./paste.js";
import { chooser, takeFiles } from "./files.js";
import { label, said, say, word } from "./words.js";

const TYPING_MS = 300;
const MOST_BYTES = 5_000_000;

/** The input of series. `history()` are the columns that were understood, for the chart of the answer. */
export function seriesInput({ fields, ask, complain }) {
  const values = fields.filter((one) => one.kind === "column");
  const time = fields.find((one) => one.kind === "time");
  const preview = el("div", { class: "preview" });
  const note = el("p", { class: "fine hint" });
  let history = null;
  const read = () => {
    preview.replaceChildren();
    history = null;
    say(note, "series_note", {
      names: fields
        .filter((one) => one.kind !== "series")
        .map((one) => one.name)
        .join(", "),
    });
    if (!area.value.trim()) return ask(null);
    const found = columnsOf(area.value, fields);
    if (found.problem) return complain(word(found.problem, found.slots));
    history = found.raw;
    if (chosen && !chosen.hidden) history[chosen.name] = history[values[0].name].map(() => chosen.value);
    if (found.assumed) say(note, "times_assumed");
    // The chart of a forecast shows its history too.
    if (!time) preview.append(...values.slice(0, 3).map((one) => chart({ title: one.name, past: history[one.name] })));
    return ask(history);
  };
  const send = later(read, TYPING_MS);
  const area = el("textarea", { id: "series-text", rows: 9, class: "code", spellcheck: "false", on: { input: send } });
  label(area, "placeholder", "paste_series");
  const series = fields.find((one) => one.kind === "series");
  const chosen = series
    ? el(
        "select",
        { id: "series-name", name: series.name, on: { change: send } },
        series.values.map((one) => el("option", { value: one }, one)),
      )
    : null;
  const take = (sample) => {
    const raw = sample?.columns ?? sample;
    const columns = Array.isArray(raw)
      ? Object.fromEntries(values.map((one, at) => [one.name, raw.map((row) => (Array.isArray(row) ? row[at] : row))]))
      : raw;
    if (chosen && columns[series.name]) chosen.value = columns[series.name][0];
    area.value = asCsv(
      columns,
      fields.filter((one) => one.kind !== "series"),
    );
    send.stop();
    read();
  };
  const file = async (blob) => {
    area.value = (await blob.slice(0, MOST_BYTES).text()).trim();
    read();
  };
  const root = el(
    "div",
    { class: "text series" },
    chosen ? el("p", { class: "together" }, el("label", { for: chosen.id }, series.name), chosen) : null,
    said("label", "paste_series", { for: area.id, class: "quiet" }),
    area,
    el("p", { class: "tools" }, ...chooser("choose_table", ".csv,.tsv,.txt,text/csv", file)),
    note,
    preview,
  );
  say(note, "series_note", {
    names: fields
      .filter((one) => one.kind !== "series")
      .map((one) => one.name)
      .join(", "),
  });
  const stop = takeFiles(area, ["text/", "application/vnd.ms-excel"], file);
  return { element: root, take, stop, first: true, history: () => history };
}
