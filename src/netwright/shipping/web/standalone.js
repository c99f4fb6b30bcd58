// The page that needs no server: that of the server, which asks its model here.

import "../../serving/page/page.js";
import { checkedAgain } from "./compare.js";
import { answer, asked, session } from "./model.js";
import { offer } from "./recheck.js";

// For programs and for the console: netwright.answer("…"), netwright.answer(file), netwright.checkedAgain().
globalThis.netwright = Object.freeze({ answer, asked, checkedAgain });

// Browsers from before 2023 lack one of them.
if (globalThis.WebAssembly && globalThis.DecompressionStream) {
  offer();
  // The model is made ready before it is asked, so that the first answer comes as fast as the others.
  session().catch(() => null);
} else {
  document.body.textContent = "This page needs a newer browser. · 本页需要较新的浏览器。";
}
