// What a model takes, as the fields of the page: as the server says, or made from its preprocessing.

// Mean and deviation know nothing of bounds, nor of whole numbers; the examples do.
function bounded([low, usual, high], samples, name) {
  const known = samples
    .map((one) => one?.[name] ?? "")
    .filter((cell) => String(cell).trim() !== "")
    .map(Number);
  const all = (is) => known.length > 0 && known.every(is);
  const least = all((one) => one >= 0) ? Math.max(0, low) : low;
  const whole = all(Number.isInteger) && Math.ceil(least) < Math.floor(high);
  return whole ? [Math.ceil(least), Math.round(usual), Math.floor(high)] : [least, usual, high];
}

function columnOf(column, samples) {
  const { column: name, kind, values, knots, mean, std, parts } = column;
  if (kind === "category") return { name, kind, values };
  if (kind === "date") return { name, kind, hour: parts.includes("hour") };
  if (kind !== "number") return { name, kind };
  // Of columns with knots the mean is of quantiles: the usual range are 9 of 10 values of training.
  const at = (share) => knots[Math.round(share * (knots.length - 1))];
  const usual = knots?.length ? [at(0.05), at(0.5), at(0.95)] : [mean - 2 * std, mean, mean + 2 * std];
  const [low, middle, high] = bounded(usual, samples, name);
  return { name, kind, low, usual: middle, high };
}

function made(spec) {
  const operations = spec.preprocess?.operations ?? [];
  const of = (op) => operations.find((one) => one.op === op);
  const windows = of("window_series");
  if (windows) {
    const columns = windows.columns.map((name, at) => ({ name, kind: "column", target: at < windows.targets }));
    const series = windows.series
      ? [{ name: windows.series, kind: "series", values: windows.scales.map((one) => one.name) }]
      : [];
    return [
      { name: windows.time, kind: "time", grid: windows.grid, context: windows.context, horizon: windows.horizon },
      ...series,
      ...columns,
    ];
  }
  const recording = of("read_recording");
  if (recording) return recording.columns.map((name) => ({ name, kind: "column" }));
  const rows = of("encode_rows");
  if (rows) {
    const pictures = Object.keys(spec.preprocess.fields ?? {}).map((name) => ({ name, kind: "image" }));
    return [...rows.columns.map((one) => columnOf(one, spec.samples ?? [])), ...pictures];
  }
  const words = of("words");
  if (words) return [{ name: "words", kind: "words", split: words.split }];
  const pair = of("pair");
  if (pair) return pair.columns.map((name) => ({ name, kind: "text" }));
  const sound = of("decode_sound");
  if (sound) return [{ name: "sound", kind: "sound", rate: sound.sample_rate, seconds: sound.max_seconds }];
  if (of("tokenise")) return [{ name: "text", kind: "text" }];
  const stored = Array.isArray(spec.fields) ? spec.fields : [];
  if (spec.kind === "image" && stored.length <= 1) {
    const [channels, height, width] = stored[0]?.shape ?? [3, 224, 224];
    return [{ name: stored[0]?.name ?? "image", kind: "image", channels, height, width }];
  }
  return stored.map(({ name, shape, dtype }) => ({ name, kind: "numbers", shape, dtype }));
}

/** The fields of a model's input, each with its `kind`: image, text, words, sound, number, category, date, … */
export function fieldsOf(spec) {
  const given = Array.isArray(spec.fields) ? spec.fields : [];
  return given.length && given.every((one) => one.kind) ? given : made(spec);
}

/** Which input the page shows for these fields. */
export function inputKind(fields, spec) {
  const kinds = new Set(fields.map((one) => one.kind));
  if (spec.kind === "series" || kinds.has("column")) return "series";
  if (spec.kind === "table") return "table";
  if (kinds.has("image") && fields.length === 1) return "image";
  if (kinds.has("sound") && fields.length === 1) return "sound";
  if (kinds.has("words")) return "words";
  if (kinds.has("text") && kinds.size === 1) return fields.length > 1 ? "pair" : "text";
  return "numbers";
}
