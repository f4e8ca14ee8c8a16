/* The page: its settings, which live in the address, its controls, and the worker that computes. */
const { texts } = data;
const LANGUAGES = { en: "EN", zh: "中文" }, LOCALES = { zh: "zh-CN" };
const SPEEDS = [1, 3, 10, 30, 100, 300, 0]; /* updates a second; 0: as fast as it goes */
const RATES = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2];
const SIZES = [...Array.from({ length: 20 }, (_, n) => 2 ** n).filter((size) => size < ALL), ALL];
const AXES = ["updates", "samples", "seconds"], KEYS = ["a", "b", "c"];
const OUTPUTS = { linear: 10, hidden: 32 }, WEIGHTS = { linear: 7850, hidden: 25450 };
const REDRAW = matchMedia("(prefers-reduced-motion: reduce)").matches ? 400 : 66; /* milliseconds */
const DEFAULTS = { seed: 0, axis: "updates", sorted: false, speed: 10, step: 0, lang: null, runs: [run("linear", 16, 0.05), run("linear", ALL, 0.05)] };

let settings, worker, samples; /* samples: { train, test }, each with pixels and labels */
let runs = []; /* { options, state, first: weights, full, batch, reading, nodes } */
let plane = null, planes = 0, status = { playing: false, reason: null };
let isStale = true; /* until the worker has taken the last settings */
let isPlayAsked = false; /* until the worker plays */
let goesOn = null; /* { rate, limits } of a part of a step, after which the runs play on */
let isAnswerAsked = false, readings = 0;

/* ---- Words ---- */

function language() {
  return settings.lang ?? (navigator.language.startsWith("zh") ? "zh" : "en");
}

function text(key, values = {}) {
  return texts[key][language()].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "–");
}

function showWords() {
  const lang = language(), values = {
    samples: whole(ALL), tests: whole(data.samples.test), count: whole(data.samples.test), dataset: data.dataset.toUpperCase(), program: "mnist-train",
  };
  document.documentElement.lang = LOCALES[lang] ?? lang;
  document.title = text("title");
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = text(node.dataset.text, values);
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", text(node.dataset.label));
  $("axis").title = text("axis.help");
  $("draw-title").textContent = text("draw", { subject: text("draw." + data.subject) });
  for (const input of $("languages").querySelectorAll("input")) input.checked = input.value === lang;
}

/* ---- Settings and the address ---- */

function parseAddress() {
  const given = new URLSearchParams(location.hash.slice(1)), found = structuredClone(DEFAULTS);
  const known = (value, allowed, otherwise) => (allowed.includes(value) ? value : otherwise);
  const number = (value, low, high, otherwise) => (/^[\d.]+(e-?\d+)?$/i.test(value ?? "") && +value >= low && +value <= high ? +value : otherwise);
  found.step = given.has("step") ? Math.floor(number(given.get("step"), 1, TOUR.length, 0)) : 0;
  if (found.step) Object.assign(found, settingsOf(TOUR[found.step - 1]));
  found.seed = Math.floor(number(given.get("seed"), 0, 999999, 0));
  found.axis = known(given.get("axis"), AXES, found.axis);
  if (given.has("order")) found.sorted = given.get("order") === "sorted";
  found.speed = known(number(given.get("speed"), 0, 1e4, -1), SPEEDS, found.speed);
  found.lang = known(given.get("lang"), Object.keys(LANGUAGES), null);
  KEYS.forEach((key, n) => {
    const [network, size, lr, order] = (given.get(key) ?? "").split(",");
    if (!given.has(key)) return;
    const otherwise = found.runs[n] ?? run("linear", 64, 0.05);
    found.runs[n] = {
      network: known(network, Object.keys(OUTPUTS), otherwise.network), batchSize: Math.floor(number(size, 1, ALL, otherwise.batchSize)),
      lr: number(lr, 1e-6, 100, otherwise.lr), shuffle: order ? order !== "in-order" : otherwise.shuffle,
    };
  });
  return found;
}

function address() {
  const { seed, axis, sorted, speed, step, lang } = settings;
  const parts = [`seed=${seed}`, `axis=${axis}`, `order=${sorted ? "sorted" : "shuffled"}`];
  settings.runs.forEach(({ network, batchSize, lr, shuffle }, n) => parts.push(`${KEYS[n]}=${network},${batchSize},${lr},${shuffle ? "shuffle" : "in-order"}`));
  parts.push(`speed=${speed}`);
  if (step) parts.push(`step=${step}`);
  if (lang) parts.push(`lang=${lang}`);
  return "#" + parts.join("&");
}

/* Takes settings over. `how`: "push" for a deliberate change, "replace" while a slider moves. */
function change(changes, how = "push", isRestart = false) {
  const before = settings;
  settings = { ...settings, ...changes };
  if (how !== "none") history[how + "State"](null, "", address());
  follow(before, isRestart);
}

function follow(before, isRestart = false) {
  const training = ({ seed, sorted, runs: all }) => JSON.stringify([seed, sorted, all]);
  if (!before || before.step !== settings.step) isAnswerAsked = false;
  if (!before || isRestart || training(before) !== training(settings)) configure();
  else if (status.playing && (before.speed !== settings.speed || before.axis !== settings.axis)) play();
  showAll();
}

/* ---- The worker ---- */

const listeners = {};
function send(message, transfer) { worker.postMessage(message, transfer ?? []); }
function on(type, callback) { (listeners[type] ??= []).push(callback); }

function configure() {
  const goOn = status.playing && runs.length > 0;
  isStale = true;
  plane = null;
  status = { playing: false, reason: null };
  isPlayAsked = false;
  goesOn = null;
  const nodes = runs.map((one) => one.nodes);
  runs = settings.runs.map((options, n) => ({ options, state: null, first: null, full: [], batch: [], reading: null, nodes: nodes[n] ?? makeRun(n) }));
  nodes.slice(runs.length).forEach(({ card, learner }) => { card.remove(); learner.remove(); });
  $("board").dataset.runs = $("learned").dataset.runs = runs.length;
  send({ type: "configure", seed: settings.seed, sorted: settings.sorted, runs: settings.runs });
  readDrawing();
  if (goOn) play();
}

function play(rate = settings.speed) {
  const step = TOUR[settings.step - 1], isLimited = step && isStepSet() && !isStepDone(step, runs);
  const limits = isLimited ? nextLimits(step) : null;
  const until = isLimited ? limits ?? step.until : null, pace = limits ? Object.keys(limits)[0] : settings.axis;
  const measure = limits?.updates || (isLimited && !step.measure) || (rate > 0 && rate <= 30) ? "each" : "some";
  goesOn = limits ? { rate, limits } : null;
  send({ type: "play", pace, rate, measure, until });
  status = { playing: true, reason: null };
  isPlayAsked = true;
  showStatus();
}

/* The next of a step's limits on the way, if there is one left. */
function nextLimits(step) {
  for (const limitsOf of step.first ?? []) { /* a later one may need what an earlier one has measured */
    const limits = limitsOf(runs);
    if (!isAt(limits, runs)) return limits;
  }
  return null;
}

function pause() {
  isPlayAsked = false;
  goesOn = null;
  send({ type: "pause" });
}

/* Asks for a new plane when a path has left the grid of the last one. */
function askPlane() {
  if (!plane || plane.isLeft) return;
  const { x0, x1, y0, y1 } = plane.grid;
  plane.isLeft = plane.paths.some((path) => path?.length && (path.at(-1)[0] < x0 || path.at(-1)[0] > x1 || path.at(-1)[1] < y0 || path.at(-1)[1] > y1));
  if (plane.isLeft) send({ type: "plane" });
}

const HANDLERS = {
  ready() { follow(null); },
  state(message) {
    const isFirst = message.reason === "ready" && message.runs.length === runs.length && message.runs.every((one) => one.updates === 0);
    if (isStale && !isFirst) return;
    isStale = false;
    if (message.reason !== "ready") isPlayAsked = false;
    status = { playing: message.playing || isPlayAsked, reason: message.reason };
    runs.forEach((one, n) => { if (message.runs[n]?.weights.length === WEIGHTS[one.options.network]) one.state = message.runs[n]; });
    for (const one of runs) if (one.state?.updates === 0) one.first = one.state.weights;
    runs.forEach(({ state: now }, n) => { /* until the next plane, the path goes on in the last one */
      const path = plane?.paths[n];
      if (path?.length && now?.at && now.updates > path.at(-1)[2]) path.push([...now.at, now.updates]);
    });
    askPlane();
    const step = TOUR[settings.step - 1];
    if (status.playing && step?.isDone && isStepSet() && isStepDone(step, runs)) pause();
    if (message.reason === "until" && goesOn && isAt(goesOn.limits, runs)) play(goesOn.rate);
    showStatus();
    later();
    if (drawn) readDrawing();
  },
  points({ run: n, reset, batchLoss, full }) {
    if (isStale || !runs[n]) return;
    runs[n].full = reset ? full : runs[n].full.concat(full);
    runs[n].batch = reset ? batchLoss : runs[n].batch.concat(batchLoss);
    later();
  },
  plane(message) {
    if (isStale || message.network !== runs[0].options.network) return; /* others have a plane of their own */
    plane = { ...message, number: ++planes, paths: [], outside: [], outsideSteps: [] };
    message.runs.forEach((n, place) => {
      plane.paths[n] = message.paths[place];
      plane.outside[n] = message.outside[place];
      plane.outsideSteps[n] = message.outsideSteps[place];
    });
    later();
  },
  reading({ id, runs: all }) {
    if (id !== readings) return;
    runs.forEach((one, n) => { one.reading = all[n] ?? null; });
    later();
  },
  error({ text: words }) { complain(text("failed", { text: words })); },
};

function complain(words) {
  $("trouble").textContent = words;
  $("trouble").hidden = false;
}

async function unpack(id, count) {
  const node = $(id), bytes = Uint8Array.from(atob(node.textContent), (letter) => letter.charCodeAt(0));
  node.remove();
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const raw = new Uint8Array(await new Response(stream).arrayBuffer());
  return { pixels: raw.subarray(0, 784 * count), labels: raw.subarray(784 * count) };
}

/* ---- Controls ---- */

const nearest = (values, value) => values.reduce((best, other, n) => (Math.abs(Math.log(other / value)) < Math.abs(Math.log(values[best] / value)) ? n : best), 0);
const nameOf = (size) => (size === 1 ? text("name.stochastic") : size === ALL ? text("name.batch", { size: whole(ALL) }) : text("name.mini", { size: whole(size) }));

function changeRun(n, options, how) {
  change({ runs: settings.runs.map((one, m) => (m === n ? { ...one, ...options } : one)) }, how);
}

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

function showControls() {
  const { axis, sorted, speed, seed } = settings;
  for (const input of document.querySelectorAll("input[name=axis]")) input.checked = input.value === axis;
  $("speed").value = SPEEDS.indexOf(speed);
  $("rate").textContent = speed === 0 ? text("speed.most") : speed === 1 ? text("speed.one") : text("speed.rate", { rate: speed });
  $("speed").setAttribute("aria-valuetext", $("rate").textContent);
  if (document.activeElement !== $("seed")) $("seed").value = seed;
  $("sorted").checked = sorted;
  $("third").textContent = text(settings.runs.length > 2 ? "third.remove" : "third.add");
  runs.forEach(({ options, nodes }, n) => {
    const { batchSize, lr, network, shuffle } = options, kind = batchSize === 1 ? 0 : batchSize === ALL ? 2 : 1;
    nodes.card.setAttribute("aria-label", text("run", { letter: LETTERS[n] }));
    nodes.name.textContent = nameOf(batchSize);
    nodes.size.textContent = whole(batchSize);
    nodes["batch-size"].value = nearest(SIZES, batchSize);
    nodes["batch-size"].setAttribute("aria-valuetext", nameOf(batchSize));
    nodes.lr.value = nearest(RATES, lr);
    nodes.lr.setAttribute("aria-valuetext", String(lr));
    nodes["lr-value"].textContent = String(lr);
    nodes.network.value = network;
    nodes.shuffle.checked = shuffle;
    [...nodes.kinds.children].forEach((node, m) => node.classList.toggle("is", m === kind));
    nodes["weights-caption"].textContent = text("weights." + network, { more: text("weights.more"), less: text("weights.less") });
  });
}

/* What changes between playing and pausing. */
function showStatus() {
  document.body.classList.toggle("playing", status.playing);
  $("play").querySelector("span").textContent = text(status.playing ? "pause" : "play");
  showAnswer();
}

function showAll() {
  showWords();
  showControls();
  showStep();
  showStatus();
  later();
}

/* ---- The tour ---- */

/* Whether the runs are set as the step sets them. */
function isStepSet() {
  const step = TOUR[settings.step - 1];
  return Boolean(step) && JSON.stringify([step.runs, Boolean(step.sorted)]) === JSON.stringify([settings.runs, settings.sorted]);
}

function settingsOf({ axis, speed, sorted = false, runs: all }) {
  return { axis, speed, sorted, runs: structuredClone(all) };
}

function goTo(number) {
  const step = TOUR[number - 1];
  status.playing = false; /* a step begins at the start */
  change(step ? { step: number, ...settingsOf(step) } : { step: 0 }, "push", Boolean(step));
  if (step) $("tour-title").focus({ preventScroll: true });
}

function showStep() {
  const step = TOUR[settings.step - 1];
  $("tour").hidden = !step;
  $("tour-open").textContent = text(step ? "tour.close" : "tour.open");
  $("tour-open").setAttribute("aria-expanded", String(Boolean(step)));
  if (!step) return;
  const key = (name) => `step.${step.name}.${name}`;
  $("tour-title").textContent = `${settings.step}. ${text(key("title"))}`;
  $("question").textContent = text(key("question"), questionNumbers(step));
  $("why").textContent = text(key("why"), questionNumbers(step));
  $("tour-previous").disabled = settings.step === 1;
  $("tour-next").textContent = text(settings.step === TOUR.length ? "tour.end" : "tour.next");
  $("changed").hidden = isStepSet();
  [...$("steps").children].forEach((dot, n) => {
    dot.setAttribute("aria-label", `${text("tour.step", { step: n + 1, count: TOUR.length })}: ${text(`step.${TOUR[n].name}.title`)}`);
    dot.title = text(`step.${TOUR[n].name}.title`);
    if (n === settings.step - 1) dot.setAttribute("aria-current", "step"); else dot.removeAttribute("aria-current");
  });
  const found = data.measured.steps[step.name];
  $("measured").hidden = !found;
  if (!found) return;
  const words = text(key("measured"), measuredNumbers(found)), isWhole = !words.includes("–");
  $("measured").querySelector("h3").textContent = text(isWhole ? "tour.measured" : "tour.unmeasured");
  $("measured").querySelector("p").textContent = isWhole ? words : "";
  $("commands").replaceChildren(...found.commands.map(commandOf));
}

/* The numbers of a question are those of the step's settings. */
function questionNumbers(step) {
  const [a, b, c] = step.runs, { updates = 0, samples = 0 } = step.until;
  return { updates: whole(updates), epochs: whole(samples / ALL), rate: a.lr, cRate: c?.lr, aSize: whole(a.batchSize), bSize: whole(b.batchSize), target: step.target };
}

function commandOf(command) {
  const row = document.createElement("div"), code = document.createElement("pre"), button = document.createElement("button");
  row.className = "command";
  code.textContent = command;
  button.type = "button";
  button.textContent = text("tour.copy");
  button.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(command); }
    catch { getSelection().selectAllChildren(code); document.execCommand("copy"); }
    button.textContent = text("tour.copied");
  });
  row.append(code, button);
  return row;
}

function showAnswer() {
  const step = TOUR[settings.step - 1];
  if (!step) return;
  const done = isStepSet() && !isStale && isStepDone(step, runs), shown = isAnswerAsked && done;
  $("answer").hidden = !shown;
  $("tour-show").setAttribute("aria-expanded", String(shown));
  $("tour-show").hidden = shown;
  $("tour-show").disabled = isAnswerAsked && !done && status.playing;
  $("tour-show").classList.toggle("main", done && !shown);
  $("tour-run").hidden = done || !isStepSet();
  $("tour-run").disabled = status.playing;
  $("tour-next").classList.toggle("main", shown);
  if (shown) $("found").textContent = text(`step.${step.name}.answer`, stepNumbers(step, runs));
}

/* Shows the answer; if the runs are not there yet, lets them run to it first. */
function askAnswer() {
  const step = TOUR[settings.step - 1];
  isAnswerAsked = true;
  if (!isStepSet()) restore();
  if (!isStepDone(step, runs)) play(0);
  showAnswer();
}

function restore() {
  const step = TOUR[settings.step - 1];
  change(settingsOf(step));
}

/* ---- The drawing ---- */

let drawing = null, drawn = null;

function takeDrawing() {
  const { strokes } = drawing;
  $("hint").hidden = !drawing.isHintNeeded;
  $("undo").disabled = !drawing.canUndo;
  $("clear").disabled = !strokes.length;
  drawn = strokes.length ? prepared(inkOf(strokes)) : null;
  readDrawing();
}

function readDrawing() {
  readings++;
  if (drawn) send({ type: "read", id: readings, pixels: drawn });
  else { runs.forEach((one) => { one.reading = null; }); later(); }
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
    nodes.degrees.textContent = angle + "°";
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

function drawLoss() {
  const most = Math.max(1, ...runs.flatMap(({ full }) => full.map((point) => point[FULL_LOSS]).filter(Number.isFinite)));
  const values = runs.map(({ full }, n) => `${LETTERS[n]} ${full.length ? loss3(full.at(-1)) : "–"}`).join(", ");
  drawCurves($("loss"), seriesOf(FULL_LOSS, true), { low: 0, high: Math.min(1.08 * most, 6), form: short, label: text(`axis.${settings.axis}.long`), whole: settings.axis !== "seconds" });
  $("loss").setAttribute("aria-label", text("chart.label", { name: text("loss"), axis: text(`axis.${settings.axis}.long`), values }));
}

function drawAccuracy() {
  const values = runs.map(({ full }, n) => `${LETTERS[n]} ${full.length ? percent1(full.at(-1)) : "–"}`).join(", ");
  drawCurves($("accuracy"), seriesOf(ACCURACY, false), { low: 0, high: 1, form: (share) => Math.round(100 * share) + "\u00a0%", label: text(`axis.${settings.axis}.long`), whole: settings.axis !== "seconds" });
  $("accuracy").setAttribute("aria-label", text("chart.label", { name: text("accuracy"), axis: text(`axis.${settings.axis}.long`), values }));
}

function drawWay() {
  const isThere = plane !== null && runs.some(({ state }) => state?.updates > 0);
  $("way").classList.toggle("empty", !isThere);
  $("path").setAttribute("aria-label", text("path.label"));
  if (!isThere) { fresh($("path")); $("path-caption").textContent = ""; return; }
  drawPath($("path"), plane, { start: text("path.start") });
  const hidden = (share) => Math.round(100 * share) + "\u00a0%", inside = (n) => plane.paths[n]?.length > 0 && Number.isFinite(plane.outside[n]);
  const shares = runs.flatMap((_, n) => (inside(n) ? [text("path.share", { letter: LETTERS[n], way: hidden(plane.outside[n]), steps: hidden(plane.outsideSteps[n]) })] : []));
  const alone = runs.flatMap(({ options }, n) => (options.network === runs[0].options.network ? [] : [text("path.alone", { letter: LETTERS[n] })]));
  $("path-caption").textContent = [text("path.caption", { weights: whole(WEIGHTS[runs[0].options.network]), shares: shares.join("; ") }), ...alone].join(" ");
}

/* ---- Beginning ---- */

function listen() {
  const click = (id, act) => $(id).addEventListener("click", act);
  click("play", () => (status.playing ? pause() : play()));
  click("begin", () => play());
  click("update", () => send({ type: "step", run: null, updates: 1 }));
  click("epoch", () => send({ type: "epoch" }));
  click("reset", () => { status.playing = false; configure(); showAll(); });
  click("another", () => change({ seed: settings.seed + 1 }));
  click("third", () => change({ runs: settings.runs.length > 2 ? settings.runs.slice(0, 2) : [...settings.runs, run("linear", 64, 0.05)] }));
  click("tour-open", () => goTo(settings.step ? 0 : 1));
  click("tour-previous", () => goTo(settings.step - 1));
  click("tour-next", () => goTo(settings.step === TOUR.length ? 0 : settings.step + 1));
  click("tour-run", () => play());
  click("tour-show", askAnswer);
  click("restore", restore);
  click("undo", () => drawing.undo());
  click("clear", () => drawing.clear());
  $("seed").addEventListener("change", ({ target }) => change({ seed: Math.min(Math.max(Math.floor(+target.value) || 0, 0), 999999) }));
  $("sorted").addEventListener("change", ({ target }) => change({ sorted: target.checked }));
  $("speed").max = SPEEDS.length - 1;
  for (const [event, how] of [["input", "replace"], ["change", "push"]]) $("speed").addEventListener(event, ({ target }) => change({ speed: SPEEDS[target.value] }, how));
  for (const input of document.querySelectorAll("input[name=axis]")) input.addEventListener("change", () => change({ axis: input.value }));
  for (const [lang, name] of Object.entries(LANGUAGES)) {
    const label = document.createElement("label"), input = document.createElement("input"), word = document.createElement("span");
    Object.assign(input, { type: "radio", name: "language", value: lang });
    word.textContent = name; word.lang = LOCALES[lang] ?? lang;
    input.addEventListener("change", () => change({ lang }));
    label.append(input, word);
    $("languages").append(label);
  }
  TOUR.forEach((_, n) => {
    const dot = document.createElement("button");
    dot.type = "button"; dot.textContent = n + 1;
    dot.addEventListener("click", () => goTo(n + 1));
    $("steps").append(dot);
  });
  document.addEventListener("pointerdown", ({ target }) => { if (!target.closest("#more")) $("more").open = false; });
  $("more").addEventListener("keydown", ({ key }) => { if (key === "Escape") { $("more").open = false; $("more").firstElementChild.focus(); } });
  addEventListener("popstate", () => { const before = settings; settings = parseAddress(); follow(before); });
  addEventListener("resize", later);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readTheme(); later(); });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target.closest("input, select, button, summary, #field")) return;
    const id = { " ": "play", u: "update", e: "epoch", r: "reset", t: "tour-open" }[event.key.toLowerCase()];
    if (!id) return;
    event.preventDefault();
    $(id).click();
  });
  $("field").addEventListener("keydown", (event) => {
    const key = event.key.toLowerCase();
    if ((event.ctrlKey || event.metaKey) && key === "z") { event.preventDefault(); drawing.undo(); }
    else if (key === "c" || key === "escape") drawing.clear();
  });
  for (const id of ["loss", "accuracy", "path"]) watcher.observe($(id));
}

async function begin() {
  settings = parseAddress();
  readTheme();
  listen();
  showWords();
  showControls();
  showStep();
  showStatus();
  if (!window.DecompressionStream) return complain(text("old"));
  const engine = new Blob([$("engine").textContent], { type: "text/javascript" });
  worker = new Worker(URL.createObjectURL(engine));
  worker.onmessage = ({ data: message }) => {
    HANDLERS[message.type]?.(message);
    for (const callback of listeners[message.type] ?? []) callback(message);
  };
  const [train, test] = await Promise.all([unpack("train", ALL), unpack("test", data.samples.test)]);
  samples = { train, test };
  drawing = drawingField($("field"), () => 9, takeDrawing);
  send({ type: "data", train, test });
}

/* For tests, and for whoever is curious. */
window.lesson = {
  send, on, texts,
  state: () => ({ settings, ...status, isStale, plane, step: TOUR[settings.step - 1] ?? null, runs: runs.map(({ options, state, full, batch, reading }) => ({ options, ...state, full, batch, reading })) }),
};
begin();
