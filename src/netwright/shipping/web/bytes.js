// Bytes in and out of texts.

/** The bytes of a base64 text or of a data URI that holds one. */
export function fromBase64(text) {
  const body = text.startsWith("data:") ? text.slice(text.indexOf(",") + 1) : text;
  const letters = atob(body);
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at++) bytes[at] = letters.charCodeAt(at);
  return bytes;
}

/** Bytes unpacked, of `gzip` or `deflate`. Throws where they are damaged or cut off. */
export async function inflate(bytes, format) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream(format));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** What a block of the page holds, unpacked. */
export const held = async (id) => inflate(fromBase64(document.getElementById(id).textContent), "gzip");

/** SHA-256 as hexadecimal; null where the browser offers none here. */
export async function sha256(bytes) {
  if (!globalThis.crypto?.subtle) return null;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((one) => one.toString(16).padStart(2, "0")).join("");
}
