// Elements made by hand. Text goes in as text, never as markup; styles only as CSS variables.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") {
      for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    } else if (name === "vars") {
      for (const [variable, setting] of Object.entries(value)) element.style.setProperty(variable, setting);
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

/** An HTML element; `on` are its listeners, `vars` its CSS variables, the rest attributes. */
export const el = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);

/** An SVG element, likewise. */
export const svg = (tag, attributes = {}, ...children) =>
  filled(document.createElementNS(SVG, tag), attributes, children);

/** The element of an id. */
export const byId = (id) => document.getElementById(id);

/** A function that runs `action` when it was last called `delay` milliseconds ago. */
export function later(action, delay) {
  let timer = 0;
  const wait = (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...given), delay);
  };
  wait.stop = () => clearTimeout(timer);
  return wait;
}

/** Bytes of a base64 text or data URI as a Blob. */
export function blobOf(base64, type) {
  const [head, body] = base64.startsWith("data:") ? base64.split(",", 2) : ["", base64];
  const bytes = Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: type ?? head.slice(5).split(";")[0] });
}
