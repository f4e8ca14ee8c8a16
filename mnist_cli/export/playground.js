/* The page: strokes by pointer or keys, redrawn and predicted once a frame. */
const data = JSON.parse(document.getElementById("data").textContent);
const logitsOf = buildNetwork(data);
const $ = (id) => document.getElementById(id);
const field = $("field"), pen = field.getContext("2d"), input = $("input").getContext("2d");
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const PACE = 0.03; /* of the field, with each press of an arrow */
const PAUSE = 700; /* milliseconds without a change, until the prediction is spoken */

let strokes = [], past = []; /* lists are never changed once they are in `past` */
let drawing = null; /* the pointer whose stroke is under way */
let cursor = { x: 0.5, y: 0.3, down: false, shown: false };
let frame = 0, speaking = 0, inputPixels = null;

const rows = data.labels.map((label) => {
  const row = document.createElement("li"), name = document.createElement("b"), bar = document.createElement("i"), share = document.createElement("span");
  name.textContent = label;
  row.append(name, bar, share);
  $("bars").append(row);
  return { row, bar, share };
});
$("bars").classList.toggle("words", data.labels.some((label) => label.length > 1));

const percent = (share) => (100 * share).toFixed(1) + " %";

function change(next) {
  past.push(strokes);
  strokes = next;
  later();
}

function undo() {
  if (past.length) strokes = past.pop();
  lift();
}

function clear() {
  if (strokes.length) change([]);
  lift();
}

function lift() {
  drawing = null;
  cursor = { ...cursor, down: false };
  later();
}

/* Appends a point to the stroke under way. */
function extend(x, y, force = 1) {
  strokes.at(-1).push({ x, y, width: (force * $("width").value) / 100 });
  later();
}

function begin(x, y, force) {
  change([...strokes, []]);
  extend(x, y, force);
}

function later() {
  frame ||= requestAnimationFrame(() => { frame = 0; show(); });
}

function show() {
  const size = field.width, style = getComputedStyle(field);
  pen.clearRect(0, 0, size, size);
  paint(pen, strokes, size, style.color);
  if (cursor.shown) showCursor(size, style.getPropertyValue("--accent"));
  $("hint").hidden = strokes.length > 0 || cursor.shown;
  $("undo").disabled = !past.length;
  $("clear").disabled = !strokes.length;
  inputPixels = strokes.length ? prepared(inkOf(strokes)) : null;
  const image = input.createImageData(28, 28);
  for (let n = 0; n < 784; n++) image.data.set([0, 0, 0, 255].fill(inputPixels ? inputPixels[n] : 0, 0, 3), 4 * n);
  input.putImageData(image, 0, 0);
  tell(inputPixels && softmax(logitsOf(inputPixels)));
}

function showCursor(size, colour) {
  pen.beginPath();
  pen.arc(cursor.x * size, cursor.y * size, (Math.max(0.03, $("width").value / 150)) * size, 0, 2 * Math.PI);
  pen.strokeStyle = pen.fillStyle = colour;
  pen.lineWidth = 0.008 * size;
  pen.stroke();
  if (cursor.down) { pen.globalAlpha = 0.35; pen.fill(); pen.globalAlpha = 1; }
}

/* Shows ten probabilities, or that there is nothing to read. */
function tell(shares) {
  const known = shares && shares.every(Number.isFinite);
  const order = known ? shares.map((_, digit) => digit).sort((a, b) => shares[b] - shares[a]) : [];
  rows.forEach(({ row, bar, share }, digit) => {
    row.classList.toggle("first", digit === order[0]);
    bar.style.setProperty("--share", known ? shares[digit] : 0);
    share.textContent = known ? percent(shares[digit]) : "";
  });
  const [first, second] = order, doubt = known && shares[second] >= 0.1;
  const name = known ? data.labels[first] : shares ? "no number" : `Draw a ${data.subject}`;
  $("answer").textContent = name;
  $("answer").className = (name.length > 1 ? "word" : "") + (known ? "" : " nothing");
  $("probability").textContent = known ? percent(shares[first]) + (doubt ? `, or ${data.labels[second]}` : "") : "";
  clearTimeout(speaking);
  speaking = setTimeout(() => {
    const also = doubt ? `, or ${data.labels[second]}, ${percent(shares[second])}` : "";
    $("spoken").textContent = known ? `Predicted: ${name}, ${percent(shares[first])}${also}` : name;
  }, PAUSE);
}

function place(event) {
  const box = field.getBoundingClientRect();
  const force = event.pointerType === "pen" && event.pressure > 0 ? 0.5 + event.pressure : 1;
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height, force];
}

field.addEventListener("pointerdown", (event) => {
  if (drawing !== null || event.button !== 0) return;
  drawing = event.pointerId;
  cursor = { ...cursor, down: false, shown: false };
  field.setPointerCapture(drawing);
  begin(...place(event));
});
field.addEventListener("pointermove", (event) => {
  if (event.pointerId !== drawing) return;
  const all = event.getCoalescedEvents?.() ?? [];
  for (const one of all.length ? all : [event]) extend(...place(one));
});
for (const name of ["pointerup", "pointercancel", "lostpointercapture"])
  field.addEventListener(name, (event) => { if (event.pointerId === drawing) drawing = null; });
field.addEventListener("blur", () => { cursor = { ...cursor, down: false, shown: false }; later(); });
field.addEventListener("focus", () => {
  cursor = { ...cursor, shown: field.matches(":focus-visible") && drawing === null };
  later();
});

field.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || drawing !== null) return;
  const way = ARROWS[event.key];
  if (!way && event.key !== " ") return;
  event.preventDefault();
  const inside = (at) => Math.min(Math.max(at, 0), 1);
  if (way) cursor = { ...cursor, shown: true, x: inside(cursor.x + PACE * way[0]), y: inside(cursor.y + PACE * way[1]) };
  else if (!event.repeat) cursor = { ...cursor, shown: true, down: !cursor.down };
  if (!way && cursor.down && !event.repeat) begin(cursor.x, cursor.y);
  else if (way && cursor.down) extend(cursor.x, cursor.y);
  later();
});
document.addEventListener("keydown", (event) => {
  const command = event.ctrlKey || event.metaKey, key = event.key.toLowerCase();
  if (command && key === "z" && !event.shiftKey && !event.altKey) { event.preventDefault(); undo(); }
  else if (!command && !event.altKey && (key === "c" || key === "escape")) clear();
});
$("undo").addEventListener("click", undo);
$("clear").addEventListener("click", clear);
$("width").addEventListener("input", later);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", later);
new ResizeObserver(() => {
  field.width = field.height = Math.round(field.clientWidth * devicePixelRatio);
  show();
}).observe(field);

/* For tests, and for whoever is curious: window.mnist.logits(pixels) in the console. */
window.mnist = { logits: logitsOf, prepare: prepared, picture: () => Array.from(inkOf(strokes)), input: () => inputPixels && Array.from(inputPixels) };
show();
