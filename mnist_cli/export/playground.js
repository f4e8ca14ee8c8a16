/* The page: what is drawn on its field is predicted once a frame. */
const data = JSON.parse(document.getElementById("data").textContent);
const logitsOf = buildNetwork(data);
const $ = (id) => document.getElementById(id);
const input = $("input").getContext("2d");
const PAUSE = 700; /* milliseconds without a change, until the prediction is spoken */

let speaking = 0, made = null; /* what was made of the drawing: see `preparation` */

const rows = data.labels.map((label) => {
  const row = document.createElement("li"), name = document.createElement("b"), bar = document.createElement("i"), share = document.createElement("span");
  name.textContent = label;
  row.append(name, bar, share);
  $("bars").append(row);
  return { row, bar, share };
});
$("bars").classList.toggle("words", data.labels.some((label) => label.length > 1));
$("bars").classList.toggle("many", data.labels.length > 12); /* in columns */

const percent = (share) => (100 * share).toFixed(1) + " %";

function show() {
  const { strokes } = drawing;
  $("hint").hidden = !drawing.isHintNeeded;
  $("undo").disabled = !drawing.canUndo;
  $("clear").disabled = !strokes.length;
  made = strokes.length && !isSpot(strokes) ? preparation(inkOf(strokes)) : null;
  const image = input.createImageData(28, 28);
  for (let n = 0; n < 784; n++) image.data.set([0, 0, 0, 255].fill(made ? made.pixels[n] : 0, 0, 3), 4 * n);
  input.putImageData(image, 0, 0);
  stopSteps();
  $("replay").disabled = !made;
  tell(made && softmax(logitsOf(made.pixels)));
}

/* Shows ten probabilities, or that there is nothing to read. */
function tell(shares) {
  const { strokes } = drawing, known = shares && shares.every(Number.isFinite);
  const order = known ? shares.map((_, digit) => digit).sort((a, b) => shares[b] - shares[a]) : [];
  const [first, second] = order, unsure = known && shares[first] < data.threshold;
  rows.forEach(({ row, bar, share }, digit) => {
    row.classList.toggle("first", digit === first);
    row.classList.toggle("unsure", unsure);
    bar.style.setProperty("--share", known ? shares[digit] : 0);
    share.textContent = known ? percent(shares[digit]) : "";
  });
  const nothing = !strokes.length ? `Draw a ${data.subject}` : shares ? "no number" : `No ${data.subject}`;
  const name = unsure ? "Not sure" : known ? data.labels[first] : nothing;
  const guess = unsure ? `perhaps ${data.labels[first]}, ` : "";
  const also = known && shares[second] >= 0.1 ? `, or ${data.labels[second]}` : "";
  $("answer").textContent = name;
  $("answer").className = (name.length > 1 ? "word" : "") + (known && !unsure ? "" : " nothing");
  $("probability").textContent = known ? guess + percent(shares[first]) + also : strokes.length ? "only a spot" : "";
  clearTimeout(speaking);
  speaking = setTimeout(() => {
    const text = known ? `${guess}${percent(shares[first])}${also && `${also}, ${percent(shares[second])}`}` : $("probability").textContent;
    $("spoken").textContent = known && !unsure ? `Predicted: ${name}, ${text}` : text ? `${name}: ${text}` : name;
    if (made && !lessMotion.matches) showSteps(made);
  }, PAUSE);
}

const drawing = drawingField($("field"), () => $("width").value, show);
document.addEventListener("keydown", (event) => {
  const command = event.ctrlKey || event.metaKey, key = event.key.toLowerCase();
  if (command && key === "z" && !event.shiftKey && !event.altKey) { event.preventDefault(); drawing.undo(); }
  else if (!command && !event.altKey && (key === "c" || key === "escape")) drawing.clear();
});
$("undo").addEventListener("click", drawing.undo);
$("clear").addEventListener("click", drawing.clear);
$("width").addEventListener("input", drawing.later);
$("replay").addEventListener("click", () => made && showSteps(made));

/* For tests, and for whoever is curious: window.mnist.logits(pixels) in the console. */
window.mnist = { logits: logitsOf, prepare: prepared, picture: () => Array.from(inkOf(drawing.strokes)), input: () => made && Array.from(made.pixels) };
drawing.show();
