// Files that a person gives: dropped, pasted, chosen; and those that a specification brings as examples.

import { blobOf, el } from "./dom.js";
import { label, said } from "./words.js";

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
