"use strict";
/* The mathematics of the lesson: two networks, their gradients, the order of the samples. Nothing
   here knows of the page or of messages. Sums are of 64 bits, weights are stored in 32. */

const PIXELS = 784, CLASSES = 10;
const SCALE = 1 / (255 * 0.3081), OFFSET = -0.1307 / 0.3081;  // input = SCALE * pixel + OFFSET
const HIDDEN = { linear: 0, hidden: 32 };  // the units of each network's hidden layer
const TOGETHER = 250;  // samples computed before others may have the core: a few milliseconds

/* ---- Random numbers: each stream starts from its address, so a run can be repeated in part. ---- */

const STREAMS = { weights: 1, order: 2 };

/* Mulberry32, its state mixed from (seed, stream, epoch) with the last step of MurmurHash3:
   state = 0; for each part: state = mix(state + part + 0x9e3779b9). A draw is its 32 bits / 2^32. */
function randomStream(seed, stream, epoch) {
  let state = 0;
  for (const part of [seed, STREAMS[stream], epoch]) state = mix((state + part + 0x9e3779b9) | 0);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

function mix(bits) {
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return bits ^ (bits >>> 16);
}

/* Fisher-Yates from the end: place n changes with floor(draw * (n + 1)). Epochs count from 0. */
function shuffledOrder(count, seed, epoch) {
  const draw = randomStream(seed, "order", epoch);
  const order = Uint32Array.from({ length: count }, (_, n) => n);
  for (let n = count - 1; n > 0; n--) {
    const other = Math.floor(draw() * (n + 1));
    [order[n], order[other]] = [order[other], order[n]];
  }
  return order;
}

/* The samples by class, those of a class as they come. */
function sortedOrder(labels) {
  return Uint32Array.from({ length: labels.length }, (_, n) => n).sort((a, b) => labels[a] - labels[b] || a - b);
}

/* ---- Samples and weights ---- */

/* Most pixels are black. An image is kept as the places and scaled values of the others, those of
   sample n from starts[n] to starts[n + 1]; the OFFSET that black ones share is added apart. */
function prepareSamples({ pixels, labels }) {
  const count = pixels.length / PIXELS, starts = new Uint32Array(count + 1);
  const lit = pixels.reduce((sum, pixel) => sum + (pixel !== 0), 0);
  const places = new Uint16Array(lit), values = new Float64Array(lit);
  let next = 0;
  for (let n = 0; n < pixels.length; n++) {
    if (pixels[n] !== 0) {
      places[next] = n % PIXELS;
      values[next++] = SCALE * pixels[n];
    }
    if ((n + 1) % PIXELS === 0) starts[(n + 1) / PIXELS] = next;
  }
  return { count, starts, places, values, labels, all: Uint32Array.from({ length: count }, (_, n) => n) };
}

/* Weights lie in one array: for each layer its matrix [inputs][outputs] row by row, the transpose of
   PyTorch's, then its biases. */
function layoutOf(network) {
  const hidden = HIDDEN[network], outputs = hidden || CLASSES;
  const bias = PIXELS * outputs, second = bias + outputs;  // where these begin
  return { hidden, outputs, bias, second, count: hidden ? second + (hidden + 1) * CLASSES : second };
}

/* Softmax regression starts from zero, the other network as He et al. (2015): biases zero, weights
   N(0, 2 / inputs), in the order of the array: sqrt(-2 ln(1 - draw)) * cos(2 pi * next draw). */
function initialWeights(network, seed) {
  const { hidden, bias, second, count } = layoutOf(network), weights = new Float32Array(count);
  if (!hidden) return weights;
  const draw = randomStream(seed, "weights", 0);
  const normal = () => Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw());
  for (let n = 0; n < bias; n++) weights[n] = Math.sqrt(2 / PIXELS) * normal();
  for (let n = second; n < second + hidden * CLASSES; n++) weights[n] = Math.sqrt(2 / hidden) * normal();
  return weights;
}

/* ---- Loss and gradient ---- */

/* Yields now and then, so that the caller may pause it; returns the mean loss over the samples at
   the indices and how many are read correctly. Puts the gradient of the mean loss into `gradient`,
   a Float64Array, unless it is null. */
function* computeLoss(network, weights, samples, indices, gradient) {
  const { hidden, outputs, bias, second } = layoutOf(network);
  const { starts, places, values, labels } = samples;
  const black = blackImage(network, weights);
  const units = new Float64Array(outputs), logits = hidden ? new Float64Array(CLASSES) : units;
  const logitDelta = new Float64Array(CLASSES), delta = hidden ? new Float64Array(hidden) : logitDelta;
  const last = second + hidden * CLASSES;  // where the second layer's biases begin
  let lossSum = 0, correct = 0;
  gradient?.fill(0);
  for (let n = 0; n < indices.length; n++) {
    if (n > 0 && n % TOGETHER === 0) yield;
    const sample = indices[n], from = starts[sample], to = starts[sample + 1], label = labels[sample];
    units.set(black);
    addRows(units, weights, outputs, places, values, from, to);
    if (hidden) secondLayer(units, weights, second, hidden, logits);

    let largest = 0;
    for (let k = 1; k < CLASSES; k++) if (logits[k] > logits[largest]) largest = k;
    let sum = 0;
    for (let k = 0; k < CLASSES; k++) sum += logitDelta[k] = Math.exp(logits[k] - logits[largest]);
    lossSum += Math.log(sum) + logits[largest] - logits[label];
    if (largest === label) correct++;
    if (!gradient) continue;

    for (let k = 0; k < CLASSES; k++) logitDelta[k] /= sum;
    logitDelta[label] -= 1;
    if (hidden) {
      for (let k = 0; k < CLASSES; k++) gradient[last + k] += logitDelta[k];
      for (let h = 0; h < hidden; h++) {
        delta[h] = 0;
        if (units[h] <= 0) continue;
        const row = second + h * CLASSES;
        for (let k = 0; k < CLASSES; k++) {
          delta[h] += weights[row + k] * logitDelta[k];
          gradient[row + k] += units[h] * logitDelta[k];
        }
      }
    }
    for (let k = 0; k < outputs; k++) gradient[bias + k] += delta[k];
    addOuter(gradient, delta, outputs, places, values, from, to);
  }
  if (gradient) {
    for (let n = 0; n < bias; n += outputs)  // what the OFFSET of all pixels adds
      for (let k = 0; k < outputs; k++) gradient[n + k] += OFFSET * gradient[bias + k];
    for (let n = 0; n < gradient.length; n++) gradient[n] /= indices.length;
  }
  return { loss: lossSum / indices.length, correct };
}

/* What the first layer returns for an image without a lit pixel. */
function blackImage(network, weights) {
  const { outputs, bias } = layoutOf(network), sums = new Float64Array(outputs);
  for (let n = 0; n < bias; n += outputs) for (let k = 0; k < outputs; k++) sums[k] += weights[n + k];
  return sums.map((sum, k) => OFFSET * sum + weights[bias + k]);
}

function addRows(sums, weights, outputs, places, values, from, to) {
  for (let n = from; n < to; n++) {
    const value = values[n], row = places[n] * outputs;
    for (let k = 0; k < outputs; k++) sums[k] += value * weights[row + k];
  }
}

function addOuter(gradient, delta, outputs, places, values, from, to) {
  for (let n = from; n < to; n++) {
    const value = values[n], row = places[n] * outputs;
    for (let k = 0; k < outputs; k++) gradient[row + k] += value * delta[k];
  }
}

/* ReLU on the units in place, then the logits. */
function secondLayer(units, weights, second, hidden, logits) {
  const last = second + hidden * CLASSES;
  for (let k = 0; k < CLASSES; k++) logits[k] = weights[last + k];
  for (let h = 0; h < hidden; h++) {
    if (!(units[h] > 0)) {
      if (units[h] <= 0) units[h] = 0;  // but not what is not a number
      else logits.fill(NaN);
      continue;
    }
    const row = second + h * CLASSES;
    for (let k = 0; k < CLASSES; k++) logits[k] += units[h] * weights[row + k];
  }
}

/* The logits of one image of 0 to 255. */
function computeLogits(network, weights, pixels) {
  const { hidden, outputs, second } = layoutOf(network), logits = new Float64Array(CLASSES);
  const { places, values } = prepareSamples({ pixels, labels: [0] }), units = blackImage(network, weights);
  addRows(units, weights, outputs, places, values, 0, places.length);
  if (!hidden) return units;
  secondLayer(units, weights, second, hidden, logits);
  return logits;
}

function softmax(logits) {
  const largest = Math.max(...logits), shares = Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = shares.reduce((a, b) => a + b);
  return shares.map((share) => share / sum);
}

/* ---- Vectors ---- */

function dot(a, b) {
  let sum = 0;
  for (let n = 0; n < a.length; n++) sum += a[n] * b[n];
  return sum;
}

function norm(vector) {
  return Math.sqrt(dot(vector, vector));
}

/* ---- A run: a network in training ---- */

function createRun({ network, batchSize, lr, shuffle }, { seed, sorted }, samples) {
  const weights = initialWeights(network, seed);
  return {
    network, lr, seed, samples, weights,
    batchSize: Math.min(batchSize, samples.count),
    // A batch of all samples is not shuffled: its gradient is the same.
    shuffle: shuffle && batchSize < samples.count,
    order: sorted ? sortedOrder(samples.labels) : samples.all,
    gradient: new Float64Array(weights.length),
    updates: 0, samplesSeen: 0, epoch: 0, position: 0, seconds: 0,
    indices: new Uint32Array(0), batchLoss: null, gradientNorm: null, stepNorm: null, diverged: false,
  };
}

/* The samples of the next update. The last batch of an epoch may be smaller: it is kept, and its
   loss is the mean over its own samples. */
function nextBatch(run) {
  if (run.shuffle && run.position === 0) run.order = shuffledOrder(run.samples.count, run.seed, run.epoch);
  return run.order.subarray(run.position, run.position + run.batchSize);
}

/* Makes an update with the gradient that is in run.gradient, of the loss on the indices. If these
   are not finite, the run has diverged and its weights stay. */
function applyUpdate(run, indices, loss) {
  const { weights, gradient, lr } = run, length = norm(gradient);
  run.batchLoss = loss;
  run.indices = indices;
  if (!Number.isFinite(loss + length)) {
    run.diverged = true;
    return;
  }
  for (let n = 0; n < weights.length; n++) weights[n] -= lr * gradient[n];
  run.gradientNorm = length;
  run.stepNorm = lr * length;
  run.updates += 1;
  run.samplesSeen += indices.length;
  run.position += indices.length;
  if (run.position === run.samples.count) {
    run.position = 0;
    run.epoch += 1;
  }
}
