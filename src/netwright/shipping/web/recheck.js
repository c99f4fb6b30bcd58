// The button that answers the certificate's examples again, in this very browser.

import { byId } from "../../serving/page/dom.js";
import { number, say } from "../../serving/page/words.js";
import { checkedAgain } from "./compare.js";
import { bundle } from "./model.js";

const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";

// A small number as people write it, 3 × 10⁻⁸.
function small(value) {
  if (value === 0 || value >= 1e-3) return number(value);
  const [digits, power] = value.toExponential(1).split("e-");
  return `${digits.replace(".0", "")}\u00a0×\u00a010⁻${[...power].map((one) => RAISED[one]).join("")}`;
}

async function again() {
  const [button, result] = [byId("check"), byId("checked")];
  button.disabled = true;
  result.className = "checked";
  const found = await checkedAgain((done, count) => say(result, "checking", { done, count }));
  button.disabled = false;
  if (!found.count) return say(result, "no_examples");
  const good = found.agree === found.count;
  result.classList.add(good ? "good" : "bad");
  const slots = { count: found.count, agree: found.agree, largest: small(found.largest), allowed: small(found.tolerance), failed: found.failed.join(", ") };
  return say(result, good ? "all_agree" : "not_all_agree", slots);
}

/** Say what the page holds, and wait for the button. */
export async function offer() {
  const { spec, certificate } = await bundle();
  const made = String(certificate.made ?? "").slice(0, 10);
  say(byId("holds"), made ? "holds_made" : "holds", { made });
  say(byId("count"), "examples", { count: (certificate.examples ?? []).length });
  byId("check").addEventListener("click", again);
  byId("recheck").hidden = false;
  document.title = `${spec.title ?? spec.name} · netwright`;
}
