"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);

function element(name, attributes = {}, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6) return +(value / 1e6).toPrecision(3) + " M";
  if (size >= 1e4) return +(value / 1e3).toPrecision(3) + " k";
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  return String(+value.toPrecision(3));
}

function ticks(low, high, log, most, least = 0) {
  const found = [];
  if (log) {
    const decades = Math.log10(high / low);
    const steps = decades > most - 1 ? [1] : decades > 2 ? [1, 3] : [1, 2, 5];
    const every = Math.max(1, Math.ceil(decades / most));
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
      if (power % every === 0)
        for (const step of steps) {
          const value = step * 10 ** power;
          if (value >= low * 0.999 && value <= high * 1.001) found.push(value);
        }
    if (found.length > 1) return found;
  }
  const rough = Math.max(least, (high - low) / most), power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const values = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step / 1e6; value += step) values.push(+value.toPrecision(12));
  return values;
}

/* series: [{ colour, name, points: [[x, y]], ... }], and where there are any:
   band: [[x, low, high]], dots: [[x, y]], edge: a limit, seed: one of several runs, end: a label at the end of the curve,
   joined: the points are joined by a dotted line, marks: [[x, y]], ring: [x, y], wide: [[x, y]] of the curve that are
   shaded, failed: [x] of those without a value. `whole`: x is counted, `at`: where x is labelled, `unit`: that of y,
   `most`: the highest y, lines: [{ x, colour }] and spans: [{ from, to, colour }] across the height. Fills `place`, and returns a function that shows the curves up to an x. */
function chart(place, series, { label, logX, logY, form = short, percent = false, whole = false, at = null, unit = "", most = Infinity, lines = [], spans = [] }) {
  const wide = place.clientWidth || 560;
  const width = Math.max(300, Math.min(wide, place.closest(".projector") ? 860 : 720)), height = Math.round(Math.min(340, Math.max(230, width * 0.58)));
  const rows = series.filter((s) => s.failed?.length);
  const ends = series.filter((s) => s.end).map((s) => s.end.length);
  const box = { left: 58, right: width - (at ? 22 : 10) - (ends.length ? 8 * Math.max(...ends) + 6 : 0), top: (unit ? 26 : 10) + 11 * rows.length, bottom: height - 42 };
  const shown = ([x, ...ys]) => (!logX || x > 0) && (!logY || ys.every((y) => y > 0));
  const usable = series.map((s) => ({ ...s, points: s.points.filter(shown), band: (s.band || []).filter(shown), dots: (s.dots || []).filter(shown), marks: (s.marks || []).filter(shown) })).filter((s) => s.points.length);
  place.replaceChildren();
  if (!usable.length) { place.textContent = "Nothing to show."; return; }
  const all = usable.flatMap((s) => [...s.points, ...s.band.map(([x, low]) => [x, low]), ...s.band.map(([x, , high]) => [x, high]), ...s.marks]);
  const range = (values) => [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
  let [x0, x1] = range([...all.map((p) => p[0]), ...usable.flatMap((s) => s.failed || [])]);
  const [low, high] = range(all.map((p) => p[1])), dotted = usable.flatMap((s) => middle(s.dots)).map(([, y]) => y);
  /* Dots may make the curves smaller, but not small. */
  let [y0, y1] = range([low, high, ...dotted.map((y) => (logY ? Math.min(Math.max(y, low / 3), 3 * high) : Math.min(y, 2 * high)))]);
  if (x0 === x1) [x0, x1] = logX ? [x0, x0 * 2] : [x0 - 0.5, x0 + 0.5];
  if (logY) { y0 *= 0.85; y1 *= 1.15; } else { const room = (y1 - y0 || 1) * 0.05; y0 = Math.max(0, y0 - room); y1 += room; if (percent) y1 = Math.min(1, y1); }
  if (y0 < most) y1 = Math.min(y1, most);
  const along = (v, a, b, log) => (log ? Math.log(v / a) / Math.log(b / a) : (v - a) / (b - a));
  const X = (v) => box.left + along(v, x0, x1, logX) * (box.right - box.left);
  const Y = (v) => Math.max(-9999, box.bottom - along(v, y0, y1, logY) * (box.bottom - box.top)); /* nothing draws 1e30 */
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  const names = [...new Set(usable.map((s) => s.name))].join(", ");
  svg.append(element("title", {}, `${place.id} against ${label}, for ${names}`));
  for (const tick of ticks(y0, y1, logY, 6)) {
    svg.append(element("line", { class: "grid", x1: box.left, x2: box.right, y1: Y(tick), y2: Y(tick) }));
    svg.append(element("text", { x: box.left - 8, y: Y(tick) + 4, "text-anchor": "end" }, form(tick)));
  }
  if (unit) svg.append(element("text", { class: "unit", x: box.left - 8, y: 12, "text-anchor": "end" }, unit));
  let previous = -Infinity;
  for (const tick of at ?? ticks(x0, x1, logX, width < 420 ? 4 : 7, whole ? 1 : 0)) {
    if (at && X(tick) < previous + 36) continue;
    previous = X(tick);
    svg.append(element("line", { class: "axis", x1: X(tick), x2: X(tick), y1: box.bottom, y2: box.bottom + 5 }));
    svg.append(element("text", { x: X(tick), y: box.bottom + 19, "text-anchor": "middle" }, at ? tick : short(tick)));
  }
  svg.append(element("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }));
  svg.append(element("text", { x: (box.left + box.right) / 2, y: height - 4, "text-anchor": "middle" }, label));
  const drawing = element("svg", { class: "drawing", x: box.left - 4, y: box.top - 4, height: box.bottom - box.top + 8 });
  const reveal = (right) => { /* cuts off what lies outside */
    const size = Math.max(0.01, right - box.left + 8);
    drawing.setAttribute("width", size);
    drawing.setAttribute("viewBox", `${box.left - 4} ${box.top - 4} ${size} ${box.bottom - box.top + 8}`);
  };
  reveal(box.right);
  svg.append(drawing);
  const point = (x, y) => `${X(x).toFixed(1)} ${Y(y).toFixed(1)}`;
  for (const { from, to, colour } of spans) {
    const [left, right] = [from, to].map((x) => Math.min(Math.max(X(x), box.left), box.right));
    drawing.append(element("rect", { class: "span", x: left, width: Math.max(right - left, 1), y: box.top, height: box.bottom - box.top, fill: colour }));
  }
  for (const { x, colour } of lines) drawing.append(element("line", { class: "line", x1: X(x), x2: X(x), y1: box.top, y2: box.bottom, stroke: colour }));
  for (const s of usable) if (s.wide?.length) drawing.append(element("path", { class: "wide", d: "M" + s.wide.map(([x, y]) => point(x, y)).join("L") + "h0", stroke: s.colour }));
  for (const s of usable) if (s.dots.length) drawing.append(element("path", { class: "dots", d: s.dots.map(([x, y]) => `M${point(x, y)}h0`).join(""), stroke: s.colour }));
  for (const s of usable) if (s.band.length > 1) {
    const outline = [...s.band.map(([x, low]) => point(x, low)), ...s.band.toReversed().map(([x, , high]) => point(x, high))];
    drawing.append(element("path", { class: "band", d: `M${outline.join("L")}Z`, fill: s.colour }));
  }
  for (const s of usable) {
    const path = "M" + s.points.map(([x, y]) => point(x, y)).join("L");
    drawing.append(element("path", s.edge ? { class: "edge", d: path } : { class: s.seed ? "seed" : s.joined ? "joined" : "curve", d: path, stroke: s.colour }));
    for (const [x, y] of s.marks) drawing.append(element("circle", { class: "mark", cx: X(x), cy: Y(y), r: 4, fill: s.colour }));
    if (s.ring) drawing.append(element("circle", { class: "ring", cx: X(s.ring[0]), cy: Y(s.ring[1]), r: 6, stroke: s.colour }));
    if (s.points.length === 1) drawing.append(element("circle", { cx: X(s.points[0][0]), cy: Y(s.points[0][1]), r: 4, fill: s.colour }));
  }
  rows.forEach((s, n) => { for (const x of s.failed) svg.append(element("path", { class: "failed", d: `M${X(x) - 4} ${box.top - 11 * (n + 1)}l8 8m0 -8l-8 8`, stroke: s.colour })); });
  const placed = [];
  for (const s of usable.filter((s) => s.end).sort((a, b) => Y(a.points.at(-1)[1]) - Y(b.points.at(-1)[1]))) {
    const [x, y] = s.points.at(-1), label = { x: X(x) + (s.ring ? 11 : 7), y: Math.min(Math.max(Y(y) + 4, box.top + 8), box.bottom), wide: 8 * s.end.length + 4 };
    for (const other of placed) /* sorted from the top: each makes room below itself */
      if (label.x < other.x + other.wide && other.x < label.x + label.wide) label.y = Math.max(label.y, other.y + 14);
    placed.push(label);
    svg.append(element("text", { class: "end", x: label.x, y: label.y, style: `fill: ${s.colour}` }, s.end));
  }
  const hair = element("line", { class: "hair", y1: box.top, y2: box.bottom, visibility: "hidden" });
  svg.append(hair);
  const follow = (event) => {
    const bounds = svg.getBoundingClientRect();
    const at = (event.clientX - bounds.left) * (width / bounds.width);
    if (at < box.left || at > box.right) return hide();
    const share = (at - box.left) / (box.right - box.left);
    const x = logX ? x0 * (x1 / x0) ** share : x0 + share * (x1 - x0);
    hair.setAttribute("x1", at); hair.setAttribute("x2", at); hair.setAttribute("visibility", "visible");
    const groups = new Map();
    for (const s of usable.filter((s) => !s.seed)) {
      groups.set(s.name, [...(groups.get(s.name) || []), height_at(s.points, x, logX, logY)]);
    }
    const whole = [...groups].filter(([, ys]) => ys.every((y) => y !== undefined)); /* no mean of some runs */
    const lines = whole.map(([name, ys]) => [name, ys.reduce((a, b) => a + b) / ys.length]);
    showTip(event.clientX, event.clientY, `${short(x)} ${label}`, ...lines.map(([name, y]) => {
      const row = document.createElement("div"), bold = document.createElement("b");
      bold.textContent = name; row.append(bold, " ", percent ? (100 * y).toFixed(2) + " %" : String(+y.toPrecision(4)));
      return row;
    }));
  };
  const hide = () => { hideTip(); hair.setAttribute("visibility", "hidden"); };
  for (const name of ["pointermove", "pointerdown"]) svg.addEventListener(name, follow);
  svg.addEventListener("pointerleave", hide);
  place.append(svg);
  return (x) => reveal(X(x) - 4);
}

/* Returns the dots without the lowest and the highest hundredth, which would make the curves small. */
function middle(dots) {
  const sorted = [...dots].sort((a, b) => a[1] - b[1]), cut = Math.floor(sorted.length / 100);
  return sorted.slice(cut, sorted.length - cut);
}

/* Shows a small window beside a place of the screen. */
function showTip(x, y, ...content) {
  const tip = $("tip");
  tip.replaceChildren(...content);
  tip.style.display = "block";
  tip.style.left = Math.max(8, Math.min(x + 14, innerWidth - tip.offsetWidth - 8)) + "px";
  tip.style.top = Math.max(8, y - tip.offsetHeight - 12) + "px";
}

function hideTip() {
  $("tip").style.display = "none";
}

/* Returns the height of a curve, interpolated on the scales of its axes. */
function height_at(points, x, logX = false, logY = false) {
  for (let n = 1; n < points.length; n++) {
    const [[a, b], [c, d]] = [points[n - 1], points[n]];
    if (a > x || x > c) continue;
    const share = a === c ? 0 : logX ? Math.log(x / a) / Math.log(c / a) : (x - a) / (c - a);
    return logY ? b * (d / b) ** share : b + share * (d - b);
  }
}
