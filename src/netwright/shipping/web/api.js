// What the page asks its model: the same questions as of a server, answered here.

import { seenOf } from "./explained.js";
import { asked, bundle } from "./model.js";

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

/** The answer to one input. With `explain` also what the model saw. */
export async function predict(_, raw, { explain = false } = {}) {
  try {
    const { sample, answer } = await asked(raw);
    return explain ? { ...answer, ...(await seenOf((await bundle()).spec, sample)) } : answer;
  } catch (error) {
    throw new Refused(error.message.replaceAll("\n", " "));
  }
}
