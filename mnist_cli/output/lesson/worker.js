"use strict";
/* The worker of the lesson: takes messages, decides which run makes the next update, measures, and
   tells the page. The engine computes.

   Page -> worker
     { type: "data", train: { pixels, labels }, test: { pixels, labels } }      Uint8Arrays
     { type: "configure", seed, sorted, runs: [{ network, batchSize, lr, shuffle }] }
     { type: "play", pace: "updates" | "samples" | "seconds", rate, measure: "each" | "some",
       until: { updates: n } | { samples: n } | { seconds: n } | null }         also while playing
     { type: "pause" }
     { type: "step", run: index | null, updates }     { type: "epoch" }
     { type: "read", id, pixels }     { type: "plane" }
     { type: "picture", aspect }                      of the plane: its width to its height
   Worker -> page
     { type: "ready" }                                the data are there
     { type: "state", playing, reason, runs: [{ updates, samples, epoch, seconds, batchLoss, indices,
       stepNorm, gradientNorm, cosine, measuredAt, diverged, weights, at }] }
       reason: null while playing, else why not: "ready" (configured), "paused", "until", "step",
       "epoch", "diverged" (every run has), "error". batchLoss, indices, stepNorm, gradientNorm are of the last
       update and null (indices: empty) before it. cosine: of the next batch's gradient and the full one
       after `measuredAt` updates, NaN if one is 0. at: [x, y] in the last plane, or null. A stop is
       told at once, and again when the last weights are measured.
     { type: "points", run, reset, batchLoss: [[update, samples, seconds, loss], ...],
       full: [[update, samples, seconds, loss, accuracy, cosine], ...] }
       What is new since the last such message of the run, or everything if `reset`. A batch's loss
       stands where it was computed, at the updates, samples and seconds before its update: in batch
       mode it is the full loss. Long lists are thinned evenly: then they come with `reset`.
     { type: "plane", network, runs: [index, ...], start: [0, 0], paths: [[[x, y, update], ...], ...],
       grid: { x0, x1, y0, y1, columns, rows, values }, outside: [share, ...], outsideSteps: [...] }
       One for each network: runs of one network share a plane, `paths` and the others have an entry for
       each of its `runs`; those that have diverged are left out. values[row * columns + column], row 0
       at y0: the loss on all samples. outside: root mean square, over the points of the path, of the
       part of the way from the start that the plane hides, to that of the whole way. outsideSteps: the
       same of the steps from point to point.
     { type: "reading", id, runs: [{ logits, probabilities }] }
     { type: "error", text }

   Seconds are those spent in updates alone. */

const SLICE = 25;  // milliseconds of computing before messages are looked at
const TELL = 70;  // milliseconds between two states
const KEPT = 2000;  // points of a curve; more are thinned to half
const KEPT_WEIGHTS = 4e6;  // numbers in the weights that a path keeps
const PLANE_EVERY = 1500, PLANE_SHARE = 0.3;  // milliseconds; of a slice, beside the training
const WARM_UP = 150;  // milliseconds
const MEASURING = 1 / 3;  // largest share of the time spent on measuring "some"

const GRIDS = { coarse: { columns: 16, rows: 12 }, fine: { columns: 24, rows: 18 } };  // while playing, else

let train, test;
let runs = [];
let settings = null;  // what configure said
let playing = null;  // { pace, rate, measure, targets: [number per run], quantity, reason }
let reason = "ready";
let turn = 0;  // counts what makes a computation in progress useless
let working = false;
let spent = { updating: 0, measuring: 0 };  // seconds since playing began, idle time not counted
let sliceEnd = 0, toldAt = 0, untold = false;
let plane = null;  // the computation in progress
let axes = {};  // of the last plane of each network: [x, y]
let aspect;  // of the picture of the plane
let plannedAt = "", planeDue = 0;  // updates of the runs in the last plane; when the next may come

/* ---- Time ---- */

/* Resolves after the messages that wait have been handled; a timeout would take four milliseconds.
   Beside a training, this is where the plane gets its share of the time. */
const doorbell = new MessageChannel();
let onRing = null;
doorbell.port1.onmessage = () => onRing();
async function breathe() {
  if (playing) advancePlane(SLICE * PLANE_SHARE);
  await new Promise((done) => {
    onRing = done;
    doorbell.port2.postMessage(null);
  });
  sliceEnd = performance.now() + SLICE;
}

function sleep(milliseconds) {
  return new Promise((done) => setTimeout(done, milliseconds));
}

/* Runs a generator of the engine in slices. Returns its value and seconds, or null if a message made
   it useless. */
async function complete(steps) {
  const mine = turn;
  for (let seconds = 0; ;) {
    const start = performance.now(), { value, done } = steps.next();
    seconds += (performance.now() - start) / 1000;
    if (done) return { value, seconds };
    if (performance.now() < sliceEnd) continue;
    await breathe();
    if (turn !== mine) return null;
  }
}

/* ---- Updates and measurements of a run ---- */

function newRun(options) {
  const run = {
    ...createRun(options, settings, train),
    ready: null,  // the next batch, when run.gradient holds its gradient: { indices, loss, length, seconds }
    measuredAt: null,  // the number of updates at the last measurement
    cosine: null,
    full: newCurve(), batch: newCurve(), path: null,
  };
  run.path = newCurve(KEPT_WEIGHTS / run.weights.length);
  addPoint(run.path, [0, run.weights.slice()]);
  return run;
}

/* Trains for a moment, so that the browser has compiled the engine when seconds are counted: else the
   run that comes first would pay for it. */
function warmUp() {
  const options = { batchSize: 64, lr: 0.01, shuffle: true }, end = performance.now() + WARM_UP;
  const trials = Object.keys(HIDDEN).map((network) => createRun({ ...options, network }, { seed: 0 }, train));
  while (performance.now() < end)
    for (const trial of trials) {
      const indices = nextBatch(trial);
      const steps = computeLoss(trial.network, trial.weights, train, indices, trial.gradient);
      let step;
      do step = steps.next(); while (!step.done);
      applyUpdate(trial, { indices, ...step.value });
    }
}

/* Computes the gradient of the next batch, unless it is there. False: given up. */
async function prepareUpdate(run) {
  if (run.ready) return true;
  const indices = nextBatch(run);
  const found = await complete(computeLoss(run.network, run.weights, train, indices, run.gradient));
  if (found) run.ready = { indices, ...found.value, seconds: found.seconds };
  return found !== null;
}

async function update(run) {
  if (!(await prepareUpdate(run))) return;
  const { ready } = run, start = performance.now();
  const before = [run.updates, run.samplesSeen, run.seconds, ready.loss];
  applyUpdate(run, ready);
  untold = true;
  run.ready = null;
  if (run.diverged) return;
  const total = ready.seconds + (performance.now() - start) / 1000;
  run.seconds += total;
  spent.updating += total;
  addPoint(run.batch, before);
  if (isKept(run.path, run.updates)) addPoint(run.path, [run.updates, run.weights.slice()]);
}

/* The loss on all samples, its gradient beside that of the next batch, the test accuracy. Returns the
   seconds that this took, not those of the next batch. */
async function measure(run) {
  if (!(await prepareUpdate(run))) return 0;
  let seconds = 0, loss = run.ready.loss, cosine = 1;
  if (run.ready.indices.length < train.count) {
    const gradient = new Float64Array(run.weights.length);
    const found = await complete(computeLoss(run.network, run.weights, train, train.all, gradient));
    if (!found) return 0;
    seconds += found.seconds;
    loss = found.value.loss;
    cosine = dot(gradient, run.gradient) / (found.value.length * run.ready.length);
  }
  const found = await complete(computeLoss(run.network, run.weights, test, test.all, null));
  if (!found) return 0;
  run.measuredAt = run.updates;
  untold = true;
  run.cosine = cosine;
  const accuracy = found.value.correct / test.count;
  addPoint(run.full, [run.updates, run.samplesSeen, run.seconds, loss, accuracy, cosine], !playing);
  return seconds + found.seconds;
}

function isUnmeasured(run) {
  return !run.diverged && run.measuredAt !== run.updates;
}

function isMeasurementDue(run) {
  if (!isUnmeasured(run)) return false;
  // At every doubling too, or else a curve might be one long straight line.
  if (playing.measure === "each" || run.updates >= 2 * run.measuredAt) return true;
  if (run.updates < run.measuredAt + run.full.gap) return false;
  return spent.measuring <= MEASURING * (spent.measuring + spent.updating);
}

/* ---- Curves: points at every `gap` updates ---- */

function newCurve(limit = KEPT) {
  return { points: [], limit, gap: 1, told: 0, reset: true };
}

function isKept({ points, gap }, update) {
  return points.length === 0 || update >= points.at(-1)[0] + gap;
}

function addPoint(curve, point, always = false) {
  if (!always && !isKept(curve, point[0])) return;
  curve.points.push(point);
  if (curve.points.length <= curve.limit) return;
  curve.gap *= 2;
  curve.points = curve.points.filter((_, n) => n % 2 === 0);
  curve.reset = true;
}

/* ---- The plane: a little at a time beside the training, at once when there is nothing else ---- */

/* Computes for some milliseconds. False: there is nothing to compute. */
function advancePlane(milliseconds) {
  const start = performance.now(), updates = runs.map((run) => run.updates).join();
  if (!plane) {
    if (updates === plannedAt || (playing && start < planeDue)) return false;
    [plane, plannedAt, planeDue] = [computePlanes(), updates, playing ? start + PLANE_EVERY : 0];
  }
  let done = false;
  while (!done && performance.now() < start + milliseconds) ({ done } = plane.next());
  if (done) plane = null;
  return true;
}

function forgetPlane() {
  [plane, plannedAt, planeDue] = [null, "", 0];
}

function* computePlanes() {
  const sound = runs.filter((run) => !run.diverged), size = { ...GRIDS[playing ? "coarse" : "fine"], aspect };
  for (const network of new Set(sound.map((run) => run.network))) {
    const group = sound.filter((run) => run.network === network);
    const losses = group.map((run) => (run.updates > 0 ? run.full.points.at(-1)[3] : Infinity));
    const best = losses.indexOf(Math.min(...losses));
    const paths = group.map(({ path, updates, weights }) =>
      path.points.at(-1)[0] === updates ? [...path.points] : [...path.points, [updates, weights.slice()]]);
    const next = group[best].gradient.slice();
    const found = yield* computePlane(network, train, paths, best, next, axes[network], size);
    if (!found) continue;
    const { axes: [x, y], ...told } = found, indices = group.map((run) => runs.indexOf(run));
    axes[network] = [x, y];
    postMessage({ type: "plane", network, runs: indices, start: [0, 0], ...told });
  }
}

/* Where the run is in the last plane. */
function placeOf({ network, diverged, weights, path }) {
  if (diverged || !axes[network]) return null;
  const way = difference(weights, path.points[0][1]);
  return axes[network].map((axis) => dot(way, axis));
}

/* ---- Which run is next ---- */

const QUANTITIES = { updates: "updates", samples: "samplesSeen", seconds: "seconds" };

function isDone(run, n) {
  return run.diverged || run[QUANTITIES[playing.quantity]] >= playing.targets[n];
}

/* The run that is furthest behind, null if all are done, "wait" if the rate does not allow it yet. */
function nextRun() {
  const left = runs.filter((run, n) => !isDone(run, n));
  if (left.length === 0) return null;
  const key = QUANTITIES[playing.pace];
  const next = left.reduce((least, run) => (run[key] < least[key] ? run : least));
  if (playing.rate === 0) return next;
  const made = Math.max(...runs.map((run) => run.updates - run.playedFrom)), now = performance.now();
  // The time that slow updates cost is not made good by faster ones.
  const most = made + Math.max(1, playing.rate / 10);
  playing.allowed = Math.min(playing.allowed + playing.rate * (now - playing.since) / 1000, most);
  playing.since = now;
  return next.updates - next.playedFrom + 1 <= playing.allowed ? next : "wait";
}

/* ---- The work: one thing at a time, until nothing is left to do ---- */

async function work() {
  if (working) return;
  working = true;
  try {
    sliceEnd = performance.now() + SLICE;
    while (await workOnce()) if (performance.now() >= sliceEnd) await breathe();
  } catch (error) {
    fail(error);
  }
  working = false;
}

function fail(error) {
  [playing, plane, reason] = [null, null, "error"];
  postMessage({ type: "error", text: String(error.stack) });
}

/* False: nothing is left to do. */
async function workOnce() {
  if (playing) {
    const run = nextRun();
    if (run === null) stop(runs.every((one) => one.diverged) ? "diverged" : playing.reason);
    else if (run === "wait") await waitForRate();
    else if (run.measuredAt === null) await measure(run);  // curves begin at the start
    else {
      await update(run);
      if (playing && isMeasurementDue(run)) spent.measuring += await measure(run);
    }
    if (untold && performance.now() >= toldAt + TELL) tell();
    return true;
  }
  if (!(await useIdleTime())) return false;
  if (untold && !runs.some(isUnmeasured)) tell();
  return true;
}

/* False: there is no use for it. */
async function useIdleTime() {
  const run = runs.find(isUnmeasured);
  if (!run) return advancePlane(SLICE);
  await measure(run);
  return true;
}

async function waitForRate() {
  if (await useIdleTime()) return;
  await sleep(Math.min(50, 1000 / playing.rate));
  sliceEnd = performance.now() + SLICE;
}

function start(how) {
  if (!playing) turn += 1;
  spent = { updating: 0, measuring: 0 };
  for (const run of runs) run.playedFrom = run.updates;
  playing = { rate: 0, measure: "some", allowed: 1, since: performance.now(), ...how };
  reason = null;
  work();
}

function stop(why) {
  playing = null;
  forgetPlane();
  reason = why;
  turn += 1;
  tell();
  work();
}

/* ---- Telling ---- */

function tell() {
  [toldAt, untold] = [performance.now(), false];
  runs.forEach((run, n) => {
    const { full, batch } = run, reset = full.reset || batch.reset;
    if (!reset && full.told === full.points.length && batch.told === batch.points.length) return;
    const unsaid = (curve) => (reset ? curve.points : curve.points.slice(curve.told));
    postMessage({ type: "points", run: n, reset, batchLoss: unsaid(batch), full: unsaid(full) });
    for (const curve of [full, batch]) Object.assign(curve, { told: curve.points.length, reset: false });
  });
  postMessage({ type: "state", playing: playing !== null, reason, runs: runs.map(stateOf) });
}

function stateOf(run) {
  const { updates, epoch, seconds, batchLoss, stepNorm, gradientNorm, cosine, measuredAt, diverged } = run;
  return {
    updates, epoch, seconds, batchLoss, stepNorm, gradientNorm, cosine, measuredAt, diverged,
    samples: run.samplesSeen, at: placeOf(run),
    indices: run.indices.slice(), weights: run.weights.slice(),  // or their whole buffers would be copied
  };
}

/* ---- Messages ---- */

const HANDLERS = {
  data(message) {
    [train, test] = [prepareSamples(message.train), prepareSamples(message.test)];
    warmUp();
    postMessage({ type: "ready" });
  },

  configure({ seed, sorted, runs: options }) {
    turn += 1;
    settings = { seed, sorted };
    playing = null;
    reason = "ready";
    forgetPlane();
    axes = {};
    runs = options.map(newRun);
    tell();
    work();
  },

  play({ pace, rate, measure: when, until }) {
    const [quantity, number] = Object.entries(until ?? { [pace]: Infinity })[0];
    start({ pace, rate, measure: when, quantity, targets: runs.map(() => number), reason: "until" });
  },

  pause() {
    if (playing) stop("paused");
  },

  plane() {
    forgetPlane();
    work();
  },

  picture(message) {
    ({ aspect } = message);
    forgetPlane();
    if (runs.length > 0) work();
  },

  step({ run: index, updates }) {
    const targets = runs.map((run, n) => (index === null || index === n ? run.updates + updates : 0));
    start({ pace: "updates", quantity: "updates", targets, reason: "step" });
  },

  epoch() {
    const targets = runs.map((run) => (run.epoch + 1) * train.count);
    start({ pace: "samples", quantity: "samples", targets, reason: "epoch" });
  },

  read({ id, pixels }) {
    const read = ({ network, weights }) => computeLogits(network, weights, pixels);
    const tellOne = (logits) => ({ logits: Array.from(logits), probabilities: softmax(logits) });
    postMessage({ type: "reading", id, runs: runs.map(read).map(tellOne) });
  },
};

onmessage = ({ data: message }) => {
  try {
    HANDLERS[message.type](message);
  } catch (error) {
    fail(error);
  }
};
