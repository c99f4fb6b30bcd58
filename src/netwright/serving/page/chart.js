// A line over time as SVG: what was, and, where there is one, the forecast with its interval.

import { el, svg } from "./dom.js";
import { number, said, word } from "./words.js";

const [HEIGHT, LOW] = [230, 140]; // with a forecast; without
const MARGIN = { top: 12, right: 14, bottom: 26, left: 52 };
const SHOWN_PAST = 4; // times the horizon, at least `LEAST` steps
const LEAST = 48;

function ticks(low, high, count = 4) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const first = Math.ceil(low / step) * step;
  return Array.from({ length: Math.floor((high - first) / step + 1e-9) + 1 }, (_, at) => first + at * step);
}

// Gaps break the line.
function path(points) {
  let drawn = "";
  let pen = "M";
  for (const [x, y] of points) {
    if (y === null) pen = "M";
    else {
      drawn += `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
      pen = "L";
    }
  }
  return drawn;
}

function draw(width, { past, times, steps, title }) {
  const height = steps ? HEIGHT : LOW;
  const most = steps ? Math.max(LEAST, SHOWN_PAST * steps.length) : past.length;
  const shown = past.slice(-most);
  const ahead = steps ?? [];
  const whole = [...shown, ...ahead.flatMap((one) => [one.value, one.low, one.high])].filter((one) =>
    Number.isFinite(one),
  );
  let [low, high] = [Math.min(...whole), Math.max(...whole)];
  if (low === high) [low, high] = [low - 1, high + 1];
  const room = (high - low) * 0.06;
  [low, high] = [low - room, high + room];
  const last = shown.length + ahead.length - 1;
  const x = (at) => MARGIN.left + ((width - MARGIN.left - MARGIN.right) * at) / Math.max(1, last);
  const y = (value) => height - MARGIN.bottom - ((height - MARGIN.top - MARGIN.bottom) * (value - low)) / (high - low);
  const point = (value, at) => [x(at), Number.isFinite(value) ? y(value) : null];
  const root = svg("svg", {
    class: "chart",
    viewBox: `0 0 ${width} ${height}`,
    width,
    height,
    role: "img",
    "aria-label": title,
  });
  for (const one of ticks(low, high)) {
    root.append(svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(one), y2: y(one) }));
    root.append(
      svg(
        "text",
        { class: "tick", x: MARGIN.left - 8, y: y(one) + 4, "text-anchor": "end" },
        number(Number(one.toPrecision(6))),
      ),
    );
  }
  const began = shown.length - 1;
  if (ahead.length) {
    const from = shown.at(-1);
    const around = ahead.some((one) => Number.isFinite(one.low));
    if (around) {
      const upper = ahead.map((one, at) => [x(began + 1 + at), y(one.high ?? one.value)]);
      const lower = ahead.map((one, at) => [x(began + 1 + at), y(one.low ?? one.value)]).reverse();
      root.append(svg("path", { class: "band", d: `${path([...upper, ...lower])}Z` }));
    }
    root.append(
      svg("line", { class: "now", x1: x(began + 0.5), x2: x(began + 0.5), y1: MARGIN.top, y2: height - MARGIN.bottom }),
    );
    const ahead_ = ahead.map((one, at) => point(one.value, began + 1 + at));
    root.append(svg("path", { class: "ahead", d: path([point(from, began), ...ahead_]) }));
  }
  root.append(svg("path", { class: "past", d: path(shown.map(point)) }));
  const begin = times ? times[times.length - shown.length] : null;
  const end = ahead.at(-1)?.time ?? times?.at(-1);
  const say = (text, at, anchor) =>
    text && root.append(svg("text", { class: "tick", x: at, y: height - 6, "text-anchor": anchor }, String(text)));
  say(begin ?? (times ? null : "1"), MARGIN.left, "start");
  say(end ?? (times ? null : String(shown.length)), width - MARGIN.right, "end");
  return root;
}

/** A figure that draws itself as wide as it may be. */
export function chart({ title, past, times = null, steps = null }) {
  const holder = el("div", { class: "holder", vars: { "--height": `${steps ? HEIGHT : LOW}px` } });
  let width = 0;
  const spoken = steps
    ? word("chart_label", {
        name: title,
        from: number(steps[0].value),
        to: number(steps.at(-1).value),
        count: steps.length,
      })
    : word("chart_past", { name: title, count: past.length });
  const observer = new ResizeObserver(([{ contentRect }]) => {
    const next = Math.round(contentRect.width);
    if (!next || next === width) return;
    width = next;
    holder.replaceChildren(draw(width, { past, times, steps, title: spoken }));
  });
  observer.observe(holder);
  const around = steps?.some((one) => Number.isFinite(one.low));
  const key = steps
    ? el(
        "p",
        { class: "keys" },
        el("span", { class: "k-past" }, said("span", "past")),
        el("span", { class: "k-ahead" }, said("span", "forecast")),
        around ? el("span", { class: "k-band" }, said("span", "interval")) : null,
      )
    : null;
  return el("figure", { class: "plot" }, el("figcaption", {}, title), key, holder);
}
