// What the page asks of its server, and what can come back: an answer, a refusal in words, or nothing at all.

const KEPT = "netwright-key";

/** The server said no: its sentence, its status, and after how many seconds to ask again. */
export class Refused extends Error {
  constructor(sentence, status, again) {
    super(sentence);
    this.status = status;
    this.again = again;
  }
}

/** The server did not answer. */
export class Away extends Error {}

/** Keep the key for this tab. */
export function useKey(key) {
  try {
    sessionStorage.setItem(KEPT, key);
  } catch {
    // Where storage is forbidden the key is asked for again.
  }
}

function headers(more = {}) {
  let key = null;
  try {
    key = sessionStorage.getItem(KEPT);
  } catch {
    // As above.
  }
  return key ? { ...more, Authorization: `Bearer ${key}` } : more;
}

// A refusal says it as {"error": "…"}, {"detail": "…"} or, as FastAPI does, {"detail": [{"msg": "…"}]}.
function sentenceOf(body, status) {
  const detail = body?.error ?? body?.detail ?? body?.message;
  if (typeof detail === "string") return detail;
  if (typeof detail?.message === "string") return detail.message;
  if (Array.isArray(detail)) return detail.map((one) => one.msg ?? String(one)).join(" ");
  return `HTTP ${status}`;
}

async function asked(path, options = {}) {
  let reply;
  try {
    reply = await fetch(path, { ...options, headers: headers(options.headers), cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Away(String(error));
  }
  let body = null;
  try {
    body = await reply.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
  }
  if (!reply.ok) {
    throw new Refused(sentenceOf(body, reply.status), reply.status, Number(reply.headers.get("Retry-After")) || 0);
  }
  return body;
}

/** The models that are served, as a list. */
export async function models() {
  const body = await asked("models");
  return Array.isArray(body) ? body : body.models;
}

/** All that the page needs to know of one model. */
export const model = (name) => asked(`models/${encodeURIComponent(name)}`);

/** The answer to one input: a Blob as a file, the rest as JSON. With `explain` also what was seen, and where. */
export function predict(name, raw, { explain = false, signal } = {}) {
  const query = new URLSearchParams({ model: name, ...(explain ? { explain: "1" } : {}) });
  const path = `predict?${query}`;
  if (raw instanceof Blob) {
    const form = new FormData();
    form.append("file", raw, raw.name ?? "input");
    return asked(path, { method: "POST", body: form, signal });
  }
  const body = JSON.stringify({ input: raw });
  return asked(path, { method: "POST", body, signal, headers: { "Content-Type": "application/json" } });
}
