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
    if (message.reason === "until" && goesOn && isAt(goesOn.limits, runs) && !isStepDone(step, runs)) play(goesOn.rate);
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
