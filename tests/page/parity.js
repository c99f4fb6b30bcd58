// What the page does to inputs, held out to the tests that compare it with Python.

import { beamSearch, greedy } from "../../src/netwright/shipping/web/answers.js";
import { fromBase64 } from "../../src/netwright/shipping/web/bytes.js";
import { calendarOf, parseDate, positionOf, secondsOf, stampOf, timeOf } from "../../src/netwright/shipping/web/dates.js";
import { decodePicture } from "../../src/netwright/shipping/web/images.js";
import { strip, toFloat } from "../../src/netwright/shipping/web/python.js";
import { resize } from "../../src/netwright/shipping/web/resize.js";
import { asText, isMissing, slug } from "../../src/netwright/shipping/web/rows.js";
import { sampleOf } from "../../src/netwright/shipping/web/samples.js";
import { entitiesOf, lookUp, schemeOf, sentence, shape } from "../../src/netwright/shipping/web/tags.js";
import { uniforms } from "../../src/netwright/shipping/web/writing.js";
import { detokenise, Tokenizer, tokenise } from "../../src/netwright/shipping/web/texts.js";

// Fields as JSON can hold them; an input that is refused as its sentence.
async function sample(spec, raw) {
  try {
    const { fields, words } = await sampleOf(spec, raw);
    const plain = Object.fromEntries(Object.entries(fields).map(([name, { shape: size, data }]) => [name, { shape: size, data: Array.from(data) }]));
    return { fields: plain, words };
  } catch (error) {
    return { error: error.message };
  }
}

const all = async (spec, raws) => {
  const found = [];
  for (const raw of raws) found.push(await sample(spec, raw));
  return found;
};

const letters = function* () {
  for (let code = 0; code < 0x110000; code++) if (code < 0xd800 || code > 0xdfff) yield String.fromCodePoint(code);
};

globalThis.nw = {
  all, asText, beamSearch, calendarOf, decodePicture, detokenise, entitiesOf, fromBase64, greedy, isMissing, letters, lookUp, parseDate,
  positionOf, resize, sample, schemeOf, secondsOf, sentence, shape, slug, stampOf, strip, timeOf, toFloat, Tokenizer, tokenise,
  uniforms,
};
