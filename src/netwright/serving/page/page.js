// The page of a server: asks it for its models, shows the input of one, and its answers.

import { show, told, typesOf } from "./answer.js";
import { Away, Refused, model as modelOf, models as modelsOf, predict, useKey } from "./api.js";
import { byId, el, later } from "./dom.js";
import { fieldsOf, inputKind } from "./fields.js";
import { formInput } from "./form.js";
import { pictureInput } from "./picture.js";
import { showSeen } from "./seen.js";
import { seriesInput } from "./series.js";
import { soundInput } from "./sound.js";
import { numbersInput, pairInput, textInput } from "./text.js";
import { keep, label, language, listed, number, preferred, said, say, speak, word } from "./words.js";

const INPUTS = {
  image: pictureInput,
  sound: soundInput,
  text: textInput,
  words: textInput,
  pair: pairInput,
  table: formInput,
  series: seriesInput,
  numbers: numbersInput,
};
const TASKS = new Set([
  "classification",
  "multi_label",
  "regression",
  "forecasting",
  "tagging",
  "transcription",
  "next_token",
  "several",
]);
const FIRST_AGAIN_S = 2;
const LAST_AGAIN_S = 15;
const EXPLAIN_MS = 300; // after the last answer, so that one who types is not kept waiting
const MOST_LINES = 5;
const TOLD_MS = 700;

// What is shown now. `asked` counts questions, so that an answer that comes late is not shown.
const now = {
  spec: null,
  fields: [],
  kind: null,
  input: null,
  raw: null,
  answer: null,
  seen: null,
  asked: 0,
  busy: false,
  waiting: null,
};

const problem = (sentence) => {
  byId("problem").hidden = !sentence;
  byId("problem").textContent = sentence ?? "";
};

function render() {
  const { answer, spec, seen, kind } = now;
  const given = {
    raw: now.raw,
    history: now.input?.history?.(),
    time: now.fields.find((one) => one.kind === "time")?.name,
  };
  byId("answer").classList.toggle("waiting", !answer);
  byId("shown").replaceChildren(answer ? show(answer, spec, given) : said("p", "no_answer", { class: "empty" }));
  byId("seen").replaceChildren(...(seen ? showSeen(seen, kind) : []));
}

const tell = later(() => (byId("told").textContent = now.answer ? told(now.answer) : ""), TOLD_MS);

const wait = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

/** What was asked is no longer wanted. */
class Stale extends Error {}

const BUSY = new Set([429, 503]);

// Runs `action` until the server has answered; says meanwhile that it is away or busy.
async function patiently(action) {
  for (let seconds = FIRST_AGAIN_S; ; seconds = Math.min(LAST_AGAIN_S, 2 * seconds)) {
    try {
      const result = await action();
      byId("away").hidden = true;
      return result;
    } catch (error) {
      const away = error instanceof Away;
      byId("away").hidden = !away && !BUSY.has(error.status);
      if (error.status === 401) {
        await keyGiven();
      } else if (!byId("away").hidden) {
        const pause = error.again || seconds;
        say(byId("away"), away ? "away" : "busy", { seconds: pause });
        await wait(pause);
      } else {
        throw error;
      }
    }
  }
}

function keyGiven() {
  const form = byId("key");
  const refused = !form.hidden;
  form.hidden = false;
  byId("key-problem").hidden = !refused;
  byId("key-problem").textContent = refused ? word("key_refused") : "";
  byId("secret").focus();
  return new Promise((resolve) => {
    form.onsubmit = (event) => {
      event.preventDefault();
      useKey(byId("secret").value.trim());
      resolve();
    };
  });
}

const keyWorks = () => {
  byId("key").hidden = true;
  byId("secret").value = "";
};

// Of one class it is told how far its probability falls, of other answers how far they move.
const seenOf = ({ seen, where, label, probabilities }) => ({ seen, where, signed: Boolean(label && probabilities) });

const explain = later(async (mine, raw) => {
  if (mine !== now.asked) return;
  try {
    const reply = await predict(now.spec.name, raw, { explain: true });
    if (mine !== now.asked) return;
    now.seen = seenOf(reply);
    render();
  } catch (error) {
    // The answer stands already; what lies behind it comes when the server has time for it, or not at all.
    if (error instanceof Refused && error.status === 429)
      setTimeout(() => explain(mine, raw), 1000 * (error.again || 1));
  }
}, EXPLAIN_MS);

// One question at a time: while it is under way only the newest of those that follow is kept.
async function ask(raw, { explain: deep = true } = {}) {
  const mine = ++now.asked;
  problem(null);
  explain.stop();
  now.raw = raw;
  if (raw === null) {
    Object.assign(now, { answer: null, seen: null, waiting: null });
    tell.stop();
    byId("told").textContent = "";
    return render();
  }
  // What is too large is not even sent: the server would hang up on it.
  const most = now.spec.limits?.max_bytes;
  if (raw instanceof Blob && most && raw.size > most) {
    return complain(word("too_large", { size: number(raw.size / 1e6), most: number(most / 1e6) }));
  }
  if (now.busy) {
    now.waiting = [raw, { explain: deep }];
    return undefined;
  }
  now.busy = true;
  byId("answer").setAttribute("aria-busy", "true");
  try {
    const { name } = now.spec;
    const answer = await patiently(() => {
      // While the server was away something else was entered, or another model chosen.
      if (now.raw !== raw || now.spec.name !== name) throw new Stale();
      return predict(name, raw);
    });
    keyWorks();
    if (now.raw !== null && (mine === now.asked || now.waiting)) {
      now.answer = answer;
      if (mine === now.asked) {
        if (answer.seen || answer.where) now.seen = seenOf(answer);
        if (deep) explain(mine, raw);
        else now.seen = null;
      }
      render();
      tell();
    }
  } catch (error) {
    if (mine === now.asked) {
      Object.assign(now, { answer: null, seen: null });
      render();
      problem(error.message);
    }
  }
  now.busy = false;
  byId("answer").removeAttribute("aria-busy");
  const next = now.waiting;
  now.waiting = null;
  return next ? ask(...next) : undefined;
}

const complain = (sentence) => {
  ask(null);
  problem(sentence);
};

function subject() {
  const { spec, kind } = now;
  const names = spec.classes ?? [];
  const types = typesOf(names);
  const shown = types ?? names;
  const key = types ? "does_entities" : TASKS.has(spec.task) ? `does_${spec.task}` : "does_own";
  const of = names.length && spec.task !== "next_token" ? `${word("colon")}${listed(shown.map(String), 10)}` : "";
  const sentence = `${word(`takes_${kind}`)}${word(key, { count: shown.length })}${of}`;
  byId("subject").textContent = sentence.endsWith("…") ? sentence : `${sentence}${word("stop")}`;
  document.title = `${spec.title ?? spec.name} · netwright`;
}

function command() {
  const { spec, kind, fields } = now;
  const address = `${location.origin}${location.pathname}predict?model=${encodeURIComponent(spec.name)}`;
  const file = { image: "picture.png", sound: "sound.wav" }[kind];
  const sample = (spec.samples ?? [])[0];
  const body = JSON.stringify({ input: sample ?? (fields.length > 1 ? {} : "…") }).replaceAll("'", "'\\''");
  byId("command").textContent = file
    ? `curl -F file=@${file} '${address}'`
    : `curl -H 'Content-Type: application/json' -d '${body.length > 600 ? '{"input": …}' : body}' \\\n  '${address}'`;
}

function samples() {
  const { spec, input, kind } = now;
  // Texts take a line each.
  const most = ["text", "words", "pair", "numbers"].includes(kind) ? MOST_LINES : spec.samples?.length;
  const given = (spec.samples ?? []).slice(0, most).map((one) => one?.input ?? one);
  if (!given.length) return [];
  const buttons = given.map((sample, at) => {
    const inside = input.sample ? input.sample(sample, at) : word("example", { number: at + 1 });
    const button = el(
      "button",
      {
        type: "button",
        class: `sample ${kind}`,
        on: { click: () => input.take(sample, word("example", { number: at + 1 })) },
      },
      inside,
    );
    if (!input.sample) say(button, "example", { number: at + 1 });
    if (kind === "image") label(button, "aria-label", "example", { number: at + 1 });
    return button;
  });
  return [said("h3", "try"), el("div", { class: "samples" }, buttons)];
}

async function open(name) {
  const spec = await patiently(() => modelOf(name));
  keyWorks();
  now.input?.stop?.();
  const fields = fieldsOf(spec);
  const kind = inputKind(fields, spec);
  Object.assign(now, { spec: { ...spec, name: spec.name ?? name }, fields, kind, input: null });
  await ask(null);
  const tools = { spec: now.spec, fields, ask, complain, problem: (key) => problem(word(key)) };
  now.input = await INPUTS[kind](tools);
  byId("input").replaceChildren(now.input.element);
  byId("samples").replaceChildren(...samples());
  byId("title").textContent = spec.title ?? spec.name ?? name;
  byId("main").dataset.kind = kind;
  subject();
  command();
  byId("main").hidden = byId("foot").hidden = false;
  // Forms and series show at once what they do.
  if (now.input.first && spec.samples?.length) now.input.take(spec.samples[0]?.input ?? spec.samples[0]);
}

const other = () => (language === "zh" ? "en" : "zh");

async function speakNow(chosen) {
  await speak(chosen);
  const button = byId("language");
  button.textContent = { en: "English", zh: "中文" }[other()];
  button.lang = other();
  button.setAttribute("aria-label", { en: "Switch to English", zh: "切换到中文" }[other()]);
  if (!now.spec) return;
  subject();
  render();
}

async function start() {
  byId("language").addEventListener("click", () => {
    keep(other());
    speakNow(other());
  });
  await patiently(() => speakNow(preferred()).catch((error) => Promise.reject(new Away(String(error)))));
  const served = await patiently(modelsOf);
  keyWorks();
  const names = [...new Set(served.map((one) => one.name ?? one))];
  const choice = byId("models");
  choice.replaceChildren(...names.map((name) => el("option", { value: name }, name)));
  byId("chooser").hidden = names.length < 2;
  const wanted = () => {
    const named = decodeURIComponent(location.hash.slice(1));
    return names.includes(named) ? named : names[0];
  };
  const change = async () => {
    choice.value = wanted();
    try {
      await open(choice.value);
    } catch (error) {
      byId("main").hidden = false;
      problem(error.message);
    }
  };
  choice.addEventListener("change", () => (location.hash = encodeURIComponent(choice.value)));
  addEventListener("hashchange", change);
  if (names.length) await change();
  else {
    byId("away").hidden = false;
    say(byId("away"), "no_models");
  }
}

start();
