// Continuing a text: ask for the token that follows, draw one, ask again; the same draws as netwright's.

import { detokenise } from "./texts.js";

const MASK = (1n << 64n) - 1n;
const GOLDEN = 0x9e3779b97f4a7c15n;
const AWAKE_MS = 30;
const START = 0; // what stands before a text

/** How `netwright predict` draws, where nothing else is asked. */
export const USUAL = Object.freeze({ max_new_tokens: 200, temperature: 0.8 });

function mixedBits(value) {
  let z = value & MASK;
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & MASK;
  return z ^ (z >> 31n);
}

/** Uniform numbers in [0, 1) of a key. Source: SplitMix64, as netwright.data.order. */
export function uniforms(key, count) {
  const state = mixedBits(BigInt(key));
  return Array.from({ length: count }, (_, at) => Number(mixedBits(state + BigInt(at + 1) * GOLDEN) >> 11n) * 2 ** -53);
}

/** Draw one token by its logarithmic probabilities. */
export function pick(logits, temperature, uniform) {
  if (temperature === 0) return logits.reduce((best, value, at) => (value > logits[best] ? at : best), 0);
  const order = logits.map((_, at) => at).sort((a, b) => logits[b] - logits[a] || a - b);
  const likeliest = logits[order[0]] / temperature;
  const shares = order.map((at) => Math.exp(logits[at] / temperature - likeliest));
  const sum = shares.reduce((a, b) => a + b, 0);
  let reached = 0;
  let last = 0;
  for (let place = 0; place < shares.length; place++) {
    if (shares[place] > 0) last = place;
    reached += shares[place] / sum;
    if (reached > uniform) return order[place];
  }
  return order[last];
}

function noteOf(operation, tokens) {
  const count = operation.kind === "file" ? 0 : tokens.filter((one) => one === 1).length;
  return count ? { note: `${count} of the prompt's ${tokens.length} last tokens were not in training; the model does not know them apart` } : {};
}

/**
 * What a model writes after a prompt.
 *
 * @param {(tokens: number[]) => Promise<number[]>} ask - the model: logarithmic probabilities of what follows tokens.
 * @param {string} key - of the random numbers.
 */
export async function continued(ask, operation, tokens, key, { max_new_tokens: count, temperature } = USUAL) {
  const held = tokens.length ? [...tokens] : [START];
  const begun = held.length;
  let rested = performance.now();
  for (const uniform of uniforms(key, count)) {
    if (performance.now() - rested > AWAKE_MS) {
      // Else the page would stand still until the last token.
      await new Promise((resolve) => setTimeout(resolve));
      rested = performance.now();
    }
    const logits = await ask(held.slice(Math.max(0, held.length - operation.max_length)));
    if (logits.some(Number.isNaN)) throw new Error("The model gives NaN.");
    // Padding and the unknown token are no text; of a person's own tokenizer none is known.
    if (operation.kind !== "file") logits[0] = logits[1] = -Infinity;
    held.push(pick(logits, temperature, uniform));
  }
  return { continuation: detokenise(operation, held.slice(begun)), ...noteOf(operation, tokens) };
}
