// The input of pictures: drawn, dropped, pasted, chosen or photographed; and the file of a sound is taken likewise.

import { blobOf, el } from "./dom.js";
import { asPng, drawing, fitted } from "./draw.js";
import { label, said, say } from "./words.js";

const LARGEST_DRAWN = 64; // pixels a side
const WHILE_DRAWING_MS = 180;

/** Files that are dropped on or pasted into the page go to `take`. Gives back what stops it. */
export function takeFiles(zone, kinds, take) {
  const wanted = (files) =>
    [...(files ?? [])].find((one) => !one.type || kinds.some((kind) => one.type.startsWith(kind)));
  const listeners = {
    dragover: (event) => {
      event.preventDefault();
      zone.classList.add("over");
    },
    dragleave: (event) => {
      if (!event.relatedTarget) zone.classList.remove("over");
    },
    drop: (event) => {
      event.preventDefault();
      zone.classList.remove("over");
      const file = wanted(event.dataTransfer.files);
      if (file) take(file);
    },
    paste: (event) => {
      const file = wanted(event.clipboardData.files);
      if (!file) return;
      event.preventDefault();
      take(file);
    },
  };
  for (const [name, handler] of Object.entries(listeners)) document.addEventListener(name, handler);
  return () => {
    for (const [name, handler] of Object.entries(listeners)) document.removeEventListener(name, handler);
  };
}

/** A button that opens the choice of a file. */
export function chooser(key, accept, take, { capture = false } = {}) {
  const input = el("input", {
    type: "file",
    accept,
    capture: capture ? "environment" : null,
    class: "quiet",
    tabindex: -1,
  });
  label(input, "aria-label", key);
  input.addEventListener("change", () => {
    if (input.files.length) take(input.files[0]);
    input.value = "";
  });
  const button = said("button", key, { type: "button", on: { click: () => input.click() } });
  return [button, input];
}

/** A sample of the specification as a Blob: {"base64": …}, a data URI, or base64. */
export function sampleBlob(sample, type) {
  const text = typeof sample === "string" ? sample : (sample.base64 ?? sample.data ?? sample.b64);
  return blobOf(text, sample.media_type ?? sample.type ?? (text.startsWith("data:") ? undefined : type));
}

// Pixels of the samples tell whether drawings are light on dark, and how much of the picture they fill.
async function habits(samples, rows, columns) {
  const [edges, shares] = [[], []];
  for (const sample of samples) {
    try {
      const bitmap = await createImageBitmap(sampleBlob(sample, "image/png"));
      const context = el("canvas", { width: columns, height: rows }).getContext("2d");
      context.drawImage(bitmap, 0, 0, columns, rows);
      const { data } = context.getImageData(0, 0, columns, rows);
      const level = (row, column) => data[(row * columns + column) * 4];
      edges.push((level(0, 0) + level(0, columns - 1) + level(rows - 1, 0) + level(rows - 1, columns - 1)) / 4);
      const dark = edges.at(-1) < 128;
      const [inRows, inColumns] = [new Set(), new Set()];
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++) {
          if (dark ? level(row, column) > 64 : level(row, column) < 191) inRows.add(row) && inColumns.add(column);
        }
      }
      shares.push(
        Math.max(
          (Math.max(...inRows) - Math.min(...inRows) + 1) / rows,
          (Math.max(...inColumns) - Math.min(...inColumns) + 1) / columns,
        ),
      );
    } catch {
      // A sample that the browser cannot show teaches nothing.
    }
  }
  const mean = (values, otherwise) =>
    values.length ? values.reduce((sum, one) => sum + one, 0) / values.length : otherwise;
  return { dark: mean(edges, 0) < 128, box: Math.min(1, Math.max(0.5, mean(shares, 20 / 28))) };
}

async function camera(take, problem) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch {
    problem("no_camera");
    return;
  }
  const video = el("video", { autoplay: true, playsinline: true, muted: true });
  label(video, "aria-label", "camera_label");
  const dialog = el("dialog", { class: "camera" }, video);
  const close = () => {
    for (const track of stream.getTracks()) track.stop();
    dialog.remove();
  };
  const shoot = () => {
    const canvas = el("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => take(new File([blob], "photo.png", { type: "image/png" })), "image/png");
    dialog.close();
  };
  dialog.append(
    el(
      "p",
      { class: "tools" },
      said("button", "shoot", { type: "button", class: "strong", on: { click: shoot } }),
      said("button", "cancel", { type: "button", on: { click: () => dialog.close() } }),
    ),
  );
  dialog.addEventListener("close", close);
  document.body.append(dialog);
  video.srcObject = stream;
  dialog.showModal();
}

/** The input of pictures. `ask(blob, {explain})` is called with each; null where there is none any more. */
export async function pictureInput({ spec, fields, ask, problem }) {
  const { channels, height, width } = fields[0];
  const drawable = channels === 1 && Math.max(height, width) <= LARGEST_DRAWN;
  const root = el("div", { class: "picture" });
  const stage = el("div", { class: drawable ? "stage" : "stage drop" });
  const shown = el("img", { class: "given", hidden: true });
  label(shown, "aria-label", "your_picture");
  // What the browser cannot show may still be a picture to the server: its name stands in its place.
  const name = el("p", { class: "invite file", hidden: true });
  shown.addEventListener("error", () => {
    shown.hidden = true;
    name.hidden = false;
  });
  let address = null;
  const show = (blob, title) => {
    if (address) URL.revokeObjectURL(address);
    address = URL.createObjectURL(blob);
    shown.src = address;
    name.textContent = title ?? "";
    name.hidden = true;
    root.classList.add("has-picture");
    shown.hidden = false;
  };
  const forget = () => {
    root.classList.remove("has-picture");
    shown.hidden = name.hidden = true;
    ask(null);
  };
  const take = (blob) => {
    board?.clear();
    show(blob, blob.name);
    ask(blob);
  };
  let board = null;
  const tools = el("p", { class: "tools" });
  const note = el("p", { class: "fine hint" });
  if (drawable) {
    const { dark, box } = await habits(spec.samples ?? [], height, width);
    let last = 0;
    let newest = 0;
    const draw = async (strokes, done) => {
      root.classList.remove("has-picture");
      shown.hidden = name.hidden = true;
      if (!strokes.length) return ask(null);
      // Answers come while one draws, but not for each of its points.
      if (!done && performance.now() - last < WHILE_DRAWING_MS) return undefined;
      last = performance.now();
      const mine = ++newest;
      const png = await asPng(fitted(strokes, width, height, { box }), width, height, { dark });
      if (mine === newest) ask(new File([png], "drawing.png", { type: "image/png" }), { explain: done });
      return undefined;
    };
    board = drawing(draw, { dark });
    const digits = (spec.classes ?? []).length > 0 && spec.classes.every((one) => /^\d$/.test(one));
    const hint = said("span", digits ? "draw_digit" : "draw_here", { class: "ghost", "aria-hidden": "true" });
    stage.append(board.element, hint);
    const clear = () => {
      board.clear();
      newest++;
      forget();
    };
    tools.append(
      said("button", "clear", { type: "button", class: "strong", on: { click: clear } }),
      said("button", "undo", { type: "button", class: "undo", on: { click: board.undo } }),
    );
    say(note, digits ? "draw_note_digit" : "draw_note", { size: `${width} × ${height}` });
  } else {
    stage.append(said("p", "drop_picture", { class: "invite" }));
    tools.append(said("button", "remove", { type: "button", class: "only-picture", on: { click: forget } }));
    say(note, "picture_note", { size: `${width} × ${height}` });
  }
  stage.append(shown, name);
  tools.append(...chooser("choose_picture", "image/*", take));
  if (matchMedia("(pointer: coarse)").matches)
    tools.append(...chooser("photograph", "image/*", take, { capture: true }));
  else if (navigator.mediaDevices?.getUserMedia)
    tools.append(said("button", "photograph", { type: "button", on: { click: () => camera(take, problem) } }));
  root.append(stage, tools, note);
  const stop = takeFiles(stage, ["image/"], take);
  return {
    element: root,
    stop,
    take: (sample) => take(sampleBlob(sample, "image/png")),
    sample: (sample) => sampleThumb(sample),
  };
}

function sampleThumb(sample) {
  const address = URL.createObjectURL(sampleBlob(sample, "image/png"));
  const image = el("img", { src: address, alt: "", on: { load: () => URL.revokeObjectURL(address) } });
  return image;
}
