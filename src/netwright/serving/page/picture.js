// The input of pictures: drawn, dropped, pasted, chosen or photographed.

import { el } from "./dom.js";
import { drawing } from "./draw.js";
import { chooser, sampleBlob, takeFiles } from "./files.js";
import { asPng, asTaken, fitted, habits } from "./fit.js";
import { label, said, say } from "./words.js";

const LARGEST_DRAWN = 64; // pixels a side
const WHILE_DRAWING_MS = 180;

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
  const habit = channels === 1 ? await habits(spec.samples ?? [], width, height) : null;
  const digits = drawable && spec.classes?.length > 0 && spec.classes.every((one) => /^\d$/.test(one));
  const resizes = (spec.preprocess?.operations ?? []).some((one) => one.op === "resize");
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
    newest++;
    ask(null);
  };
  let newest = 0;
  const take = async (blob) => {
    board?.clear();
    show(blob, blob.name);
    const mine = ++newest;
    // A model that brings no picture to its size itself takes only those that have it.
    const taken = resizes ? blob : await asTaken(blob, width, height, { habit, digits });
    if (mine === newest) ask(taken);
  };
  let board = null;
  const tools = el("p", { class: "tools" });
  const note = el("p", { class: "fine hint" });
  if (drawable) {
    const { dark, box } = habit;
    let last = 0;
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
    const hint = said("span", digits ? "draw_digit" : "draw_here", { class: "ghost", "aria-hidden": "true" });
    stage.append(board.element, hint);
    const clear = () => {
      board.clear();
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
    sample: sampleThumb,
  };
}

function sampleThumb(sample) {
  const address = URL.createObjectURL(sampleBlob(sample, "image/png"));
  return el("img", { src: address, alt: "", on: { load: () => URL.revokeObjectURL(address) } });
}
