// The input of sounds: a file, or the microphone, which is sent as a WAV file of 16 bits.

import { el } from "./dom.js";
import { chooser, sampleBlob, takeFiles } from "./files.js";
import { label, number, said, say } from "./words.js";

const MOST_RECORDED_S = 60;

/** Samples -1..1 as a WAV file of one channel and 16 bits. */
export function asWav(samples, rate) {
  const bytes = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, letters) =>
    [...letters].forEach((letter, index) => bytes.setUint8(at + index, letter.charCodeAt(0)));
  text(0, "RIFF");
  bytes.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  bytes.setUint32(16, 16, true);
  bytes.setUint16(20, 1, true); // PCM
  bytes.setUint16(22, 1, true); // channels
  bytes.setUint32(24, rate, true);
  bytes.setUint32(28, 2 * rate, true);
  bytes.setUint16(32, 2, true);
  bytes.setUint16(34, 16, true);
  text(36, "data");
  bytes.setUint32(40, 2 * samples.length, true);
  samples.forEach((value, at) =>
    bytes.setInt16(44 + 2 * at, Math.round(Math.max(-1, Math.min(1, value)) * 32767), true),
  );
  return new Blob([bytes.buffer], { type: "audio/wav" });
}

async function recorder(level) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
  const audio = new AudioContext();
  await audio.audioWorklet.addModule(new URL("capture.js", import.meta.url));
  const node = new AudioWorkletNode(audio, "capture");
  const parts = [];
  node.port.onmessage = ({ data }) => {
    parts.push(data);
    level(Math.max(...data.map(Math.abs)), (parts.length * data.length) / audio.sampleRate);
  };
  audio.createMediaStreamSource(stream).connect(node);
  return async () => {
    for (const track of stream.getTracks()) track.stop();
    await audio.close();
    const samples = new Float32Array(parts.reduce((sum, one) => sum + one.length, 0));
    parts.reduce((at, one) => (samples.set(one, at), at + one.length), 0);
    return new File([asWav(samples, audio.sampleRate)], "recording.wav", { type: "audio/wav" });
  };
}

/** The input of sounds. */
export function soundInput({ fields, ask, problem }) {
  const most = Math.min(fields[0].seconds ?? MOST_RECORDED_S, MOST_RECORDED_S);
  const player = el("audio", { controls: true, hidden: true });
  label(player, "aria-label", "your_sound");
  const name = el("p", { class: "file" });
  const meter = el("span", { class: "meter", hidden: true, "aria-hidden": "true" });
  const stage = el(
    "div",
    { class: "stage drop low" },
    said("p", "drop_sound", { class: "invite" }),
    meter,
    name,
    player,
  );
  let address = null;
  const take = (blob, title = blob.name) => {
    if (address) URL.revokeObjectURL(address);
    address = URL.createObjectURL(blob);
    player.src = address;
    player.hidden = false;
    name.textContent = title ?? "";
    stage.classList.add("has-sound");
    ask(blob);
  };
  let stop = null;
  const finish = async () => {
    const end = stop;
    stop = null;
    if (!end) return;
    say(record, "record");
    record.classList.remove("live");
    meter.hidden = true;
    take(await end());
  };
  const begin = async () => {
    try {
      stop = await recorder((level, seconds) => {
        meter.style.setProperty("--v", String(Math.min(1, level * 1.5)));
        say(record, "recording", { seconds: number(Math.floor(seconds)) });
        if (seconds >= most) finish();
      });
    } catch {
      problem("no_microphone");
      return;
    }
    meter.hidden = false;
    record.classList.add("live");
  };
  const record = said("button", "record", {
    type: "button",
    class: "strong",
    on: { click: () => (stop ? finish() : begin()) },
  });
  const tools = el(
    "p",
    { class: "tools" },
    navigator.mediaDevices?.getUserMedia ? record : null,
    ...chooser("choose_sound", "audio/*,.wav,.flac,.ogg,.mp3", take),
  );
  const note = said(
    "p",
    "sound_note",
    { class: "fine hint" },
    { seconds: number(fields[0].seconds ?? MOST_RECORDED_S) },
  );
  const root = el("div", { class: "sound" }, stage, tools, note);
  const halt = takeFiles(stage, ["audio/"], take);
  const leave = () => {
    halt();
    stop?.();
    stop = null;
  };
  return { element: root, stop: leave, take: (sample, title) => take(sampleBlob(sample, "audio/wav"), title) };
}
