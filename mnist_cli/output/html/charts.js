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

/* series: [{colour, name, points: [[x, y]], edge}]; `whole`: x is counted. Returns nothing, fills `place`. */
function chart(place, series, { label, logX, logY, form = short, percent = false, whole = false }) {
  const wide = place.clientWidth || 560;
  const width = Math.max(300, Math.min(wide, 720)), height = Math.round(Math.min(340, Math.max(230, width * 0.58)));
  const box = { left: 58, right: width - 10, top: 10, bottom: height - 42 };
  const usable = series.map((s) => ({ ...s, points: s.points.filter(([x, y]) => (!logX || x > 0) && (!logY || y > 0)) })).filter((s) => s.points.length);
  place.replaceChildren();
  if (!usable.length) { place.textContent = "Nothing to show."; return; }
  const all = usable.flatMap((s) => s.points);
  let [x0, x1] = [Math.min(...all.map((p) => p[0])), Math.max(...all.map((p) => p[0]))];
  let [y0, y1] = [Math.min(...all.map((p) => p[1])), Math.max(...all.map((p) => p[1]))];
  if (x0 === x1) [x0, x1] = logX ? [x0, x0 * 2] : [x0 - 0.5, x0 + 0.5];
  if (logY) { y0 *= 0.85; y1 *= 1.15; } else { const room = (y1 - y0 || 1) * 0.05; y0 = Math.max(0, y0 - room); y1 += room; if (percent) y1 = Math.min(1, y1); }
  const along = (v, a, b, log) => (log ? Math.log(v / a) / Math.log(b / a) : (v - a) / (b - a));
  const X = (v) => box.left + along(v, x0, x1, logX) * (box.right - box.left);
  const Y = (v) => box.bottom - along(v, y0, y1, logY) * (box.bottom - box.top);
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  const names = [...new Set(usable.map((s) => s.name))].join(", ");
  svg.append(element("title", {}, `${place.id} against ${label}, for ${names}`));
  for (const tick of ticks(y0, y1, logY, 6)) {
    svg.append(element("line", { class: "grid", x1: box.left, x2: box.right, y1: Y(tick), y2: Y(tick) }));
    svg.append(element("text", { x: box.left - 8, y: Y(tick) + 4, "text-anchor": "end" }, form(tick)));
  }
  for (const tick of ticks(x0, x1, logX, width < 420 ? 4 : 7, whole ? 1 : 0)) {
    svg.append(element("line", { class: "axis", x1: X(tick), x2: X(tick), y1: box.bottom, y2: box.bottom + 5 }));
    svg.append(element("text", { x: X(tick), y: box.bottom + 19, "text-anchor": "middle" }, short(tick)));
  }
  svg.append(element("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }));
  svg.append(element("text", { x: (box.left + box.right) / 2, y: height - 4, "text-anchor": "middle" }, label));
  for (const s of usable) {
    const path = s.points.map(([x, y], n) => `${n ? "L" : "M"}${X(x).toFixed(1)} ${Y(y).toFixed(1)}`).join("");
    svg.append(element("path", s.edge ? { class: "edge", d: path } : { class: "curve", d: path, stroke: s.colour, opacity: 0.85 }));
    if (s.points.length === 1) svg.append(element("circle", { cx: X(s.points[0][0]), cy: Y(s.points[0][1]), r: 4, fill: s.colour }));
  }
  const hair = element("line", { class: "hair", y1: box.top, y2: box.bottom, visibility: "hidden" });
  svg.append(hair);
  svg.addEventListener("pointermove", (event) => {
    const bounds = svg.getBoundingClientRect();
    const at = (event.clientX - bounds.left) * (width / bounds.width);
    if (at < box.left || at > box.right) return hide();
    const share = (at - box.left) / (box.right - box.left);
    const x = logX ? x0 * (x1 / x0) ** share : x0 + share * (x1 - x0);
    hair.setAttribute("x1", at); hair.setAttribute("x2", at); hair.setAttribute("visibility", "visible");
    const groups = new Map();
    for (const s of usable) {
      const y = height_at(s.points, x);
      if (y !== undefined) groups.set(s.name, [...(groups.get(s.name) || []), y]);
    }
    const lines = [...groups].map(([name, ys]) => [name, ys.reduce((a, b) => a + b) / ys.length]);
    const tip = $("tip");
    tip.replaceChildren(`${short(x)} ${label}`, ...lines.map(([name, y]) => {
      const row = document.createElement("div"), bold = document.createElement("b");
      bold.textContent = name; row.append(bold, " ", percent ? (100 * y).toFixed(2) + " %" : String(+y.toPrecision(4)));
      return row;
    }));
    tip.style.display = "block";
    tip.style.left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8) + "px";
    tip.style.top = Math.max(8, event.clientY - tip.offsetHeight - 12) + "px";
  });
  const hide = () => { $("tip").style.display = "none"; hair.setAttribute("visibility", "hidden"); };
  svg.addEventListener("pointerleave", hide);
  place.append(svg);
}

function height_at(points, x) {
  for (let n = 1; n < points.length; n++) {
    const [[a, b], [c, d]] = [points[n - 1], points[n]];
    if (a <= x && x <= c) return a === c ? b : b + ((d - b) * (x - a)) / (c - a);
  }
}
