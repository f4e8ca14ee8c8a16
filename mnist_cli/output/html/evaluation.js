const bytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
const pixels = bytes(data.pixels), doubtedPixels = bytes(data.doubted_pixels), examples = bytes(data.examples);
const AT_FIRST = innerWidth < 640 ? 12 : 24;
let chosen = null, most = AT_FIRST;

function make(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function paint(canvas, pixels, place) {
  const context = canvas.getContext("2d"), image = context.createImageData(28, 28);
  for (let n = 0; n < 784; n++) image.data.set([...Array(3).fill(pixels[784 * place + n]), 255], 4 * n);
  context.putImageData(image, 0, 0);
}

function sample(one, pixels, place) {
  const item = make("li"), text = make("p"), same = one.true === one.predicted;
  const canvas = make("canvas", undefined, { width: 28, height: 28, role: "img", "aria-label": `${data.split} image ${one.number}` });
  paint(canvas, pixels, place);
  text.append(make("b", data.classes[one.true]), " predicted as ", make("b", data.classes[one.predicted]), make("span", ` #${one.number}`, { class: "soft" }));
  item.append(canvas, text, bar(one.predicted, one.probabilities[one.predicted], same ? "good" : "bad"));
  if (!same) item.append(bar(one.true, one.probabilities[one.true], "good"));
  if (one.known_error) item.append(make("p", "known label error", { class: "known" }));
  return item;
}

function bar(digit, probability, key) {
  const line = make("div", undefined, { class: "bar" }), track = make("i");
  track.style.setProperty("--p", probability); track.style.setProperty("--key", `var(--${key})`);
  line.append(make("b", data.classes[digit]), track, make("span", (100 * probability).toFixed(1) + " %"));
  return line;
}

function showMistakes() {
  const fitting = data.mistakes.map((_, place) => place).filter((place) => chosen ? (data.mistakes[place].true === chosen[0] && data.mistakes[place].predicted === chosen[1]) : place < data.listed);
  const list = $("mistakes");
  list.replaceChildren();
  list.append(...fitting.slice(0, most).map((place) => sample(data.mistakes[place], pixels, place)));
  $("more").hidden = fitting.length <= most;
  $("more").textContent = `Show all ${fitting.length}`;
  const which = chosen && (chosen[2] === fitting.length ? (chosen[2] === 1 ? "once" : `all ${chosen[2]} times`) : `the ${fitting.length} most confident of ${chosen[2]} times`);
  if (chosen) $("which").textContent = `${data.classes[chosen[0]]} predicted as ${data.classes[chosen[1]]}: ${which}. Choose the number again for all mistakes.`;
  else $("which").textContent = shownAtFirst;
}
const shownAtFirst = $("which").textContent;

function drawCalibration() {
  const place = $("calibration"), width = Math.max(300, Math.min(place.clientWidth || 560, 720)), height = Math.round(Math.min(340, Math.max(250, width * 0.6)));
  const left = 52, right = width - 12, top = 14, bottom = height - 42;
  const X = (v) => left + v * (right - left), Y = (v) => bottom - v * (bottom - top);
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  svg.append(element("title", {}, data.bins.map((b) => `predictions of ${(100 * b[3]).toFixed(0)} %: ${(100 * b[4]).toFixed(0)} % correct of ${b[2]}`).join("; ")));
  for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
    svg.append(element("line", { class: "grid", x1: left, x2: right, y1: Y(tick), y2: Y(tick) }));
    svg.append(element("text", { x: left - 8, y: Y(tick) + 4, "text-anchor": "end" }, 100 * tick + " %"));
    svg.append(element("text", { x: X(tick), y: bottom + 19, "text-anchor": tick === 1 ? "end" : "middle" }, 100 * tick + " %"));
  }
  const labels = [];  // the largest counts first: there is not always room for all
  for (const [low, high, count, , accuracy] of [...data.bins].sort((a, b) => b[2] - a[2])) {
    svg.append(element("rect", { class: "column", x: X(low) + 1.5, y: Y(accuracy), width: X(high) - X(low) - 3, height: Math.max(0, bottom - Y(accuracy)), rx: 2, opacity: 0.35 + 0.65 * Math.min(1, count / 200) }));
    const text = count < 1000 ? String(count) : +(count / 1000).toPrecision(2) + "k";
    const label = { x: (X(low) + X(high)) / 2, y: Math.max(Y(accuracy) - 4, 11), half: 3.3 * text.length + 1 };
    if (labels.some((other) => Math.abs(other.x - label.x) < other.half + label.half && Math.abs(other.y - label.y) < 12)) continue;
    labels.push(label);
    svg.append(element("text", { class: "count", x: label.x, y: label.y, "text-anchor": "middle" }, text));
  }
  svg.append(element("line", { class: "ideal", x1: X(0), y1: Y(0), x2: X(1), y2: Y(1) }));
  svg.append(element("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }));
  svg.append(element("text", { x: (left + right) / 2, y: height - 4, "text-anchor": "middle" }, "probability of the prediction"));
  place.replaceChildren(svg);
}

const SPLITS = { train: "var(--soft)", test: "var(--accent)", val: "var(--good)" };
function drawHistory() {
  for (const what of ["loss", "accuracy"]) {
    const series = Object.entries(SPLITS).filter(([split]) => data.history[`${split}_${what}`]).map(([split, colour]) => ({ name: split, colour, points: data.history[`${split}_${what}`] }));
    const percent = what === "accuracy";
    chart($(what), series, { label: "epoch", whole: true, logX: false, logY: !percent, percent, ...(percent ? { form: (v) => +(100 * v).toPrecision(4) + " %" } : {}) });
  }
}

function draw() { drawCalibration(); if (!$("learning").hidden) drawHistory(); }

for (const button of document.querySelectorAll(".matrix button")) button.addEventListener("click", () => {
  const cell = [+button.dataset.true, +button.dataset.predicted, +button.dataset.count], again = chosen && chosen.join() === cell.join();
  chosen = again ? null : cell; most = AT_FIRST;
  for (const other of document.querySelectorAll(".matrix button")) other.setAttribute("aria-pressed", String(!again && other === button));
  showMistakes();
});
$("more").addEventListener("click", () => { most = Infinity; showMistakes(); });
$("learning").hidden = !Object.keys(data.history).length;
for (const [split, colour] of Object.entries(SPLITS)) if (data.history[`${split}_loss`]) {
  const key = make("span", split), mark = make("i");
  key.style.cssText = "display:inline-flex;align-items:center;gap:.45rem"; mark.style.setProperty("--key", colour);
  key.prepend(mark); $("keys").append(key);
}
for (const canvas of document.querySelectorAll("[data-example]")) paint(canvas, examples, +canvas.dataset.example);
data.doubted.forEach((one, place) => $("doubted").append(sample(one, doubtedPixels, place)));
let last = innerWidth;
addEventListener("resize", () => { if (innerWidth !== last) { last = innerWidth; draw(); } });
showMistakes();
draw();
