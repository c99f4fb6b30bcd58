// The model itself: what the page holds of its bundle, and onnxruntime-web to run it.

import { answerOf } from "./answers.js";
import { held, sha256 } from "./bytes.js";
import { InputError } from "./python.js";
import { batchOf, sampleOf, typed } from "./samples.js";
import { continued } from "./writing.js";

const json = async (id) => JSON.parse(new TextDecoder().decode(await held(id)));

let opened = null;

async function open() {
  const [spec, classes, certificate] = await Promise.all([json("nw-spec"), json("nw-classes"), json("nw-certificate")]);
  return { spec, classes, certificate };
}

/** What the page holds: `spec`, `classes` and `certificate`, as the bundle's files have them. */
export const bundle = () => (opened ??= open());

let started = null;

async function start() {
  const { certificate } = await bundle();
  const [wasm, model] = await Promise.all([held("nw-wasm"), held("nw-model")]);
  const digest = await sha256(model);
  const wanted = certificate.files?.["model.onnx"]?.sha256;
  if (digest && wanted && digest !== wanted) throw new Error("The model in this page is not the one of its certificate.");
  const { ort } = globalThis;
  ort.env.wasm.numThreads = 1; // threads need headers that only a server can send
  ort.env.wasm.wasmBinary = wasm.buffer;
  ort.env.logLevel = "error";
  return ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
}

/** The session, started once. */
export const session = () => (started ??= start());

// An input of which a size is another than the graph's, where the graph has but one; sizes that vary are names.
function refuseSize(name, got, wanted) {
  if (got.length === wanted.length && wanted.every((size, at) => typeof size === "string" || size === got[at])) return;
  const shown = (sizes) => `(${sizes.slice(1).join(", ")}${sizes.length === 2 ? "," : ""})`;
  const cure = "Bring it to the size of training: the graph takes no other.";
  throw new InputError(`input \`${name}\``, `shape ${shown(wanted)}`, shown(got), cure);
}

// The session answers one question at a time.
let last = Promise.resolve();

/** The model's outputs for a batch, by name. */
export function run(batch) {
  const next = last.then(async () => {
    const { spec } = await bundle();
    const running = await session();
    const feeds = {};
    for (const { name, dtype, shape } of spec.model.inputs) {
      const field = batch[name];
      if (!field) throw new Error(`The model asks for ${name}, which its data have not.`);
      refuseSize(name, field.shape, shape);
      feeds[name] = new globalThis.ort.Tensor(dtype, typed(field.data, dtype), field.shape);
    }
    return running.run(feeds);
  });
  last = next.catch(() => null);
  return next;
}

// Numbers of a model that predicts next tokens: it is asked again for each.
async function written(spec, sample, options) {
  const operation = spec.preprocess.operations.find((one) => one.op === "tokenise");
  const field = spec.fields.find((one) => one.name === "tokens");
  const follow = async (tokens) => {
    const { log_probs: found } = await run(batchOf({ ...spec, fields: [field] }, { tokens: { dtype: "int64", shape: [tokens.length], data: tokens } }));
    return Array.from(found.data);
  };
  return continued(follow, operation, Array.from(sample.fields.tokens.data), spec.draws, options);
}

/** A raw input, as it was prepared, with the answer to it: of a file's Blob or bytes, or of what JSON can hold. */
export async function asked(raw, { name = typeof raw === "string" && !raw.startsWith("data:") ? raw : "input 0", sampling } = {}) {
  const held = await bundle();
  const sample = await sampleOf(held.spec, raw);
  for (const field of held.spec.limits?.never_empty ?? []) {
    if (sample.fields[field]?.shape[0] !== 0) continue;
    const cure = "Leave it out: the network takes no empty text.";
    throw new InputError("input", "a text of at least one token, as the network itself does", `none in \`${field}\``, cure);
  }
  if (held.spec.task === "next_token") return { sample, answer: { name, ...(await written(held.spec, sample, sampling)) } };
  return { sample, answer: answerOf(await run(batchOf(held.spec, sample.fields)), held, sample, name) };
}

/** The answer alone. */
export const answer = async (raw, options) => (await asked(raw, options)).answer;
