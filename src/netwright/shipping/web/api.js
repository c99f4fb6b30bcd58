// What the page asks its model: the same questions as of a server, answered here.

import { seenOf } from "./explained.js";
import { asked, bundle } from "./model.js";
import { whereOf } from "./occluded.js";

/** The input cannot be answered. */
export class Refused extends Error {}

/** Never so: there is no server that could be away. */
export class Away extends Error {}

/** There are no keys. */
export const useKey = () => {};

/** The one model. */
export const models = async () => [(await bundle()).spec];

/** All that the page needs to know of it. */
export async function model() {
  const { spec, classes } = await bundle();
  return { ...spec, classes: classes.classes ?? undefined };
}

// The last question with its answer, so that what explains it need not ask again.
let last = null;

/** The answer to one input. With `explain` also what the model saw, and where it looked. */
export async function predict(_, raw, { explain = false } = {}) {
  try {
    if (!explain || last?.raw !== raw) last = { raw, ...(await asked(raw)) };
    const mine = last;
    if (!explain) return mine.answer;
    const [seen, where] = [await seenOf((await bundle()).spec, mine.sample), await whereOf(raw, mine.sample, mine.answer, () => mine === last)];
    return { ...mine.answer, seen, where };
  } catch (error) {
    throw new Refused(error.message.replaceAll("\n", " "));
  }
}
