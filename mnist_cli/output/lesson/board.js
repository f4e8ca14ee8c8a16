/* What the page shows of the runs, drawn at most so often, and only what can be seen. */
/* Makes what shows a run, and returns its parts by name. */
function makeRun(n) {
  const card = $("run").content.cloneNode(true).firstElementChild, learner = $("knowledge").content.cloneNode(true).firstElementChild;
  const part = (name) => card.querySelector("." + name) ?? learner.querySelector("." + name);
  for (const root of [card, learner]) {
    root.dataset.run = n;
    root.querySelector(".letter").textContent = LETTERS[n];
    for (const node of root.querySelectorAll("[data-text]")) node.textContent = text(node.dataset.text);
  }
  const nodes = { card, learner };
  for (const name of ["name", "size", "batch-size", "lr", "lr-value", "network", "shuffle", "images", "mosaic", "kinds", "batch-loss", "step-norm", "dial", "degrees", "updates", "samples", "epochs", "seconds", "diverged", "reading", "weights", "weights-caption", "bars"]) nodes[name] = part(name);
  nodes["batch-size"].max = SIZES.length - 1;
  nodes.lr.max = RATES.length - 1;
  for (const [event, how] of [["input", "replace"], ["change", "push"]]) {
    nodes["batch-size"].addEventListener(event, ({ target }) => changeRun(n, { batchSize: SIZES[target.value] }, how));
    nodes.lr.addEventListener(event, ({ target }) => changeRun(n, { lr: RATES[target.value] }, how));
  }
  nodes.network.addEventListener("change", ({ target }) => changeRun(n, { network: target.value }));
  nodes.shuffle.addEventListener("change", ({ target }) => changeRun(n, { shuffle: target.checked }));
  nodes.rows = data.labels.map((label) => {
    const row = document.createElement("li"), bar = document.createElement("i"), name = document.createElement("b");
    name.textContent = label;
    row.append(bar, name);
    nodes.bars.append(row);
    return row;
  });
  nodes.bars.classList.toggle("words", data.labels.some((label) => label.length > 1));
  $("stage").append(card);
  $("learned").append(learner);
  watcher.observe(nodes.images); watcher.observe(nodes.weights); watcher.observe(nodes.dial);
  return nodes;
}

/* ---- Drawing what has changed ---- */

let timer = 0, drawnAt = 0;
const visible = new Set();
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) visible[isIntersecting ? "add" : "delete"](target);
  later();
});

function later() {
  timer ||= setTimeout(() => requestAnimationFrame(() => { timer = 0; drawnAt = performance.now(); draw(); }), Math.max(0, REDRAW - (performance.now() - drawnAt)));
}

function draw() {
  if (!theme) return;
  for (const [n, one] of runs.entries()) drawRun(one, n);
  if (visible.has($("loss"))) drawLoss();
  if (visible.has($("accuracy"))) drawAccuracy();
  if (visible.has($("path"))) drawWay();
  showAnswer();
}

const small = (number) => (number === null || number === undefined || !Number.isFinite(number) ? "–" : short(number));

/* The weights less those at the start, which hide what is learned where they are random. */
function changed(weights, first) {
  return first ? weights.map((weight, n) => weight - first[n]) : weights;
}

function drawRun({ options, state, first, reading, nodes }, n) {
  const known = state !== null, moved = known && state.updates > 0;
  nodes.updates.textContent = whole(state?.updates ?? 0);
  nodes.samples.textContent = whole(state?.samples ?? 0);
  nodes.epochs.textContent = ((state?.samples ?? 0) / ALL).toFixed(options.batchSize === ALL ? 0 : 2);
  nodes.seconds.textContent = (state?.seconds ?? 0).toFixed(2);
  nodes["batch-loss"].textContent = small(moved ? state.batchLoss : null);
  nodes["step-norm"].textContent = small(moved ? state.stepNorm : null);
  nodes.diverged.hidden = !state?.diverged;
  nodes.mosaic.classList.toggle("empty", !moved);
  if (moved && visible.has(nodes.images)) {
    const key = [options.batchSize === ALL ? "all" : state.updates, nodes.images.clientWidth, nodes.images.clientHeight, theme.card].join();
    if (nodes.batchKey !== key) drawBatch(nodes.images, samples.train.pixels, state.indices, ALL);
    nodes.batchKey = key;
    nodes.images.setAttribute("aria-label", text("batch.label", { count: whole(state.indices.length), letter: LETTERS[n] }));
  }
  if (visible.has(nodes.dial)) {
    const cosine = Number.isFinite(state?.cosine) ? state.cosine : null, angle = cosine === null ? "–" : Math.round((Math.acos(Math.max(-1, Math.min(1, cosine))) * 180) / Math.PI);
    drawAngle(nodes.dial, cosine, theme.runs[n]);
    nodes.degrees.textContent = cosine === null ? angle : angle + "°";
    nodes.dial.setAttribute("aria-label", text("angle.help", { angle }));
  }
  nodes.learner.dataset.network = options.network;
  if (known && visible.has(nodes.weights)) {
    const key = [state.updates, options.network, settings.seed, nodes.weights.clientWidth, theme.card].join();
    if (nodes.weightsKey !== key) drawWeights(nodes.weights, changed(state.weights, first), OUTPUTS[options.network], options.network === "linear" ? data.labels : null);
    nodes.weightsKey = key;
    nodes.weights.setAttribute("aria-label", nodes["weights-caption"].textContent);
  }
  drawReading(reading, nodes, n);
}

function drawReading(reading, nodes, n) {
  const shares = reading?.probabilities, first = shares ? shares.indexOf(Math.max(...shares)) : -1;
  nodes.rows.forEach((row, label) => {
    row.style.setProperty("--share", shares ? shares[label] : 0);
    row.classList.toggle("first", label === first);
  });
  nodes.reading.textContent = first < 0 ? text("read.none", { letter: LETTERS[n] }) : text("read", { letter: LETTERS[n], label: data.labels[first], share: percentOf(shares[first]) });
}

function seriesOf(column, isBatchShown) {
  const x = AXES.indexOf(settings.axis), found = [];
  if (isBatchShown) runs.forEach(({ batch }, n) => found.push({ run: n, points: batch.map((point) => [point[x], point[3]]) }));
  runs.forEach(({ full }, n) => found.push({ run: n, bold: true, points: full.map((point) => [point[x], point[column]]) }));
  return found;
}

const MOST_SHOWN = 6; /* of the losses: a run that jumps would press all others flat */

function drawLoss() {
  const most = Math.max(1, ...runs.flatMap(({ full }) => full.map((point) => point[FULL_LOSS]).filter(Number.isFinite)));
  const values = runs.map(({ full }, n) => `${LETTERS[n]} ${full.length ? loss3(full.at(-1)) : "–"}`).join(", ");
  drawCurves($("loss"), seriesOf(FULL_LOSS, true), { low: 0, high: Math.min(1.08 * most, MOST_SHOWN), form: short, label: text(`axis.${settings.axis}.long`), whole: settings.axis !== "seconds" });
  $("loss-caption").textContent = most > MOST_SHOWN ? text("loss.cut", { most: MOST_SHOWN }) : text("loss.caption");
  $("loss").setAttribute("aria-label", text("chart.label", { name: text("loss"), axis: text(`axis.${settings.axis}.long`), values }));
}

function drawAccuracy() {
  const values = runs.map(({ full }, n) => `${LETTERS[n]} ${full.length ? percent1(full.at(-1)) : "–"}`).join(", ");
  drawCurves($("accuracy"), seriesOf(ACCURACY, false), { low: 0, high: 1, form: (share) => Math.round(100 * share) + "\u00a0%", label: text(`axis.${settings.axis}.long`), whole: settings.axis !== "seconds" });
  $("accuracy").setAttribute("aria-label", text("chart.label", { name: text("accuracy"), axis: text(`axis.${settings.axis}.long`), values }));
}

/* Tells the worker how wide the picture of the plane is to its height, so that the contours fill it. */
let aspect = null;
function tellAspect({ clientWidth, clientHeight }) {
  const now = clientWidth / clientHeight;
  if (!(now > 0 && Number.isFinite(now)) || Math.abs(now / aspect - 1) < 0.02) return;
  aspect = now;
  send({ type: "picture", aspect });
}

function drawWay() {
  tellAspect($("path"));
  const isThere = plane !== null && runs.some(({ state }) => state?.updates > 0);
  $("way").classList.toggle("empty", !isThere);
  $("path").setAttribute("aria-label", text("path.label"));
  if (!isThere) { fresh($("path")); $("path-caption").textContent = ""; return; }
  drawPath($("path"), plane, { start: text("path.start") });
  const hidden = (share) => Math.round(100 * share) + "\u00a0%", inside = (n) => plane.paths[n]?.length > 0 && Number.isFinite(plane.outside[n]);
  const shares = runs.flatMap((_, n) => (inside(n) ? [text("path.share", { letter: LETTERS[n], way: hidden(plane.outside[n]), steps: hidden(plane.outsideSteps[n]) })] : []));
  const alone = runs.flatMap(({ options }, n) => (options.network === runs[0].options.network ? [] : [text("path.alone", { letter: LETTERS[n] })]));
  $("path-caption").textContent = [text("path.caption", { weights: whole(WEIGHTS[runs[0].options.network]), shares: shares.join(text("between.parts")) }), ...alone].join(" ");
}
