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
   Worker -> page
     { type: "ready" }                                the data are there
     { type: "state", playing, reason, runs: [{ updates, samples, epoch, seconds, batchLoss, indices,
       stepNorm, gradientNorm, cosine, measuredAt, diverged, weights }] }
       reason: null while playing, else why not: "ready" (configured), "paused", "until", "step",
       "epoch", "diverged" (every run has). batchLoss, indices, stepNorm, gradientNorm are of the last
       update and null (indices: empty) before it; cosine was measured after
       `measuredAt` updates. A stop is told at once, and again when the last weights are measured.
     { type: "points", run, reset, batchLoss: [[update, samples, seconds, loss], ...],
       full: [[update, samples, seconds, loss, accuracy, cosine], ...] }
       What is new since the last such message of the run, or everything if `reset`. A batch's loss
       stands where it was computed, at the updates, samples and seconds before its update: in batch
       mode it is the full loss. Long lists are thinned evenly: then they come with `reset`.
     { type: "reading", id, runs: [{ logits, probabilities }] }
     { type: "error", text }

   Seconds are those spent in updates alone. */

const SLICE = 25;  // milliseconds of computing before messages are looked at
const TELL = 70;  // milliseconds between two states
const KEPT = 2000;  // points of a curve; more are thinned to half
const MEASURING = 1 / 3;  // largest share of the time spent on measuring "some"

let train, test;
let runs = [];
let settings = null;  // what configure said
let playing = null;  // { pace, rate, measure, targets: [number per run], quantity, reason }
let reason = "ready";
let turn = 0;  // counts what makes a computation in progress useless
let working = false;
let spent = { updating: 0, measuring: 0 };  // seconds since configure
let sliceEnd = 0, toldAt = 0;

/* ---- Time ---- */

/* Resolves after the messages that wait have been handled; a timeout would take four milliseconds. */
const doorbell = new MessageChannel();
let onRing = null;
doorbell.port1.onmessage = () => onRing();
async function breathe() {
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
  return {
    ...createRun(options, settings, train),
    ready: null,  // the next batch, when run.gradient holds its gradient: { indices, loss, seconds }
    measuredAt: null,  // the number of updates at the last measurement
    cosine: null,
    full: newCurve(), batch: newCurve(),
  };
}

/* Computes the gradient of the next batch, unless it is there. False: given up. */
async function prepareUpdate(run) {
  if (run.ready) return true;
  const indices = nextBatch(run);
  const found = await complete(computeLoss(run.network, run.weights, train, indices, run.gradient));
  if (found) run.ready = { indices, loss: found.value.loss, seconds: found.seconds };
  return found !== null;
}

async function update(run) {
  if (!(await prepareUpdate(run))) return;
  const { indices, loss, seconds } = run.ready, start = performance.now();
  const before = [run.updates, run.samplesSeen, run.seconds, loss];
  applyUpdate(run, indices, loss);
  run.ready = null;
  if (run.diverged) return;
  const total = seconds + (performance.now() - start) / 1000;
  run.seconds += total;
  spent.updating += total;
  addPoint(run.batch, before);
}

/* The loss on all samples, its gradient beside that of the next batch, the test accuracy. */
async function measure(run) {
  if (!(await prepareUpdate(run))) return;
  let seconds = 0, loss = run.ready.loss, cosine = 1;
  if (run.ready.indices.length < train.count) {
    const gradient = new Float64Array(run.weights.length);
    const found = await complete(computeLoss(run.network, run.weights, train, train.all, gradient));
    if (!found) return;
    seconds += found.seconds;
    loss = found.value.loss;
    cosine = dot(gradient, run.gradient) / (norm(gradient) * norm(run.gradient));
  }
  const found = await complete(computeLoss(run.network, run.weights, test, test.all, null));
  if (!found) return;
  spent.measuring += seconds + found.seconds;
  run.measuredAt = run.updates;
  run.cosine = cosine;
  const accuracy = found.value.correct / test.count;
  addPoint(run.full, [run.updates, run.samplesSeen, run.seconds, loss, accuracy, cosine], !playing);
}

function isMeasurementDue(run) {
  if (run.diverged || run.measuredAt === run.updates) return false;
  if (playing.measure === "each") return true;
  if (run.updates < run.measuredAt + run.full.gap) return false;
  return spent.measuring <= MEASURING * (spent.measuring + spent.updating);
}

/* ---- Curves: points at every `gap` updates ---- */

function newCurve() {
  return { points: [], gap: 1, told: 0, reset: true };
}

function addPoint(curve, point, always = false) {
  const { points } = curve;
  if (points.length > 0 && point[0] < points.at(-1)[0] + curve.gap && !always) return;
  points.push(point);
  if (points.length <= KEPT) return;
  curve.gap *= 2;
  curve.points = points.filter((_, n) => n % 2 === 0 || n === points.length - 1);
  curve.reset = true;
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
  playing.allowed = Math.min(playing.allowed + playing.rate * (now - playing.since) / 1000, made + Math.max(1, playing.rate / 10));
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
    playing = null;
    postMessage({ type: "error", text: String(error?.stack ?? error) });
  }
  working = false;
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
      if (playing && isMeasurementDue(run)) await measure(run);
    }
    if (performance.now() >= toldAt + TELL) tell();
    return true;
  }
  const unmeasured = runs.find((run) => !run.diverged && run.measuredAt !== run.updates);
  if (!unmeasured) return false;
  await measure(unmeasured);
  if (!runs.some((run) => !run.diverged && run.measuredAt !== run.updates)) tell();
  return true;
}

async function waitForRate() {
  tell();
  await sleep(Math.min(50, 1000 / playing.rate));
  sliceEnd = performance.now() + SLICE;
}

function start(how) {
  if (!playing) turn += 1;
  for (const run of runs) run.playedFrom = run.updates;
  playing = { rate: 0, measure: "some", allowed: 1, since: performance.now(), ...how };
  reason = null;
  work();
}

function stop(why) {
  playing = null;
  reason = why;
  turn += 1;
  tell();
  work();
}

/* ---- Telling ---- */

function tell() {
  toldAt = performance.now();
  runs.forEach((run, n) => {
    const { full, batch } = run;
    if (full.told === full.points.length && batch.told === batch.points.length) return;
    const reset = full.reset || batch.reset;
    const unsaid = (curve) => (reset ? curve.points : curve.points.slice(curve.told));
    postMessage({ type: "points", run: n, reset, batchLoss: unsaid(batch), full: unsaid(full) });
    for (const curve of [full, batch]) Object.assign(curve, { told: curve.points.length, reset: false });
  });
  postMessage({ type: "state", playing: playing !== null, reason, runs: runs.map(stateOf) });
}

function stateOf({ updates, samplesSeen, epoch, seconds, batchLoss, indices, stepNorm, gradientNorm, cosine, measuredAt, diverged, weights }) {
  return {
    updates, samples: samplesSeen, epoch, seconds, batchLoss, stepNorm, gradientNorm, cosine, measuredAt, diverged,
    indices: indices.slice(), weights: weights.slice(),  // or their whole buffers would be copied
  };
}

/* ---- Messages ---- */

const HANDLERS = {
  data(message) {
    [train, test] = [prepareSamples(message.train), prepareSamples(message.test)];
    postMessage({ type: "ready" });
  },

  configure({ seed, sorted, runs: options }) {
    turn += 1;
    settings = { seed, sorted };
    playing = null;
    reason = "ready";
    spent = { updating: 0, measuring: 0 };
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
    const answer = runs.map(read).map((logits) => ({ logits: Array.from(logits), probabilities: softmax(logits) }));
    postMessage({ type: "reading", id, runs: answer });
  },
};

onmessage = ({ data: message }) => HANDLERS[message.type](message);
