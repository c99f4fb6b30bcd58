// The certificate's examples, answered again here and held against what is certified.

import { answer, bundle } from "./model.js";

// How the certificate's texts are written: the likeliest token each time.
const CERTIFIED = { max_new_tokens: 12, temperature: 0 };

// Numbers of two answers that belong together, and decisions that differ.
function held(mine, certified, found) {
  for (const [key, wanted] of Object.entries(certified)) {
    if (key === "name" || wanted === null) continue;
    const got = mine?.[key];
    if (typeof wanted === "number") found.numbers.push([got ?? NaN, wanted, key]);
    else if (typeof wanted === "object") held(got, wanted, found);
    else if (got !== wanted) found.decisions.push([key, got, wanted]);
  }
  if (Array.isArray(certified) && mine?.length !== certified.length) found.decisions.push(["length", mine?.length, certified.length]);
}

/**
 * How far an answer is from the certified one.
 *
 * @returns {{largest: number, equal: boolean}} the largest difference of a number, and whether all decisions are equal;
 *     of numbers that are no shares it is taken relative to their size.
 */
export function compared(mine, certified) {
  const found = { numbers: [], decisions: [] };
  held(mine, certified, found);
  const difference = ([got, wanted]) => Math.abs(got - wanted) / Math.max(1, Math.abs(wanted));
  const largest = found.numbers.map(difference).reduce((most, one) => (Number.isNaN(one) ? Infinity : Math.max(most, one)), 0);
  return { largest, equal: found.decisions.length === 0 };
}

/** Answer all examples again. `told(done, count)` is called as it goes on. */
export async function checkedAgain(told = () => {}) {
  const { certificate } = await bundle();
  const examples = certificate.examples ?? [];
  const tolerance = certificate.tolerance?.probabilities ?? 1e-4;
  const result = { count: examples.length, agree: 0, largest: 0, tolerance, failed: [] };
  for (const [at, example] of examples.entries()) {
    told(at, examples.length);
    // So that the page shows how far it is.
    await new Promise((resolve) => setTimeout(resolve));
    let own;
    try {
      own = compared(await answer(example.input, { sampling: example.sampling ?? CERTIFIED }), example.answer);
    } catch (error) {
      own = { largest: Infinity, equal: false, error: error.message };
    }
    result.largest = Math.max(result.largest, own.largest);
    if (own.equal && own.largest <= tolerance) result.agree += 1;
    else result.failed.push(at + 1);
  }
  return result;
}
