"use strict";
/* The mathematics of the lesson: two networks, their gradients, the order of the samples. Nothing
   here knows of the page or of messages. Sums are of 64 bits, weights are stored in 32. */

const PIXELS = 784, CLASSES = 10;
const SCALE = 1 / (255 * 0.3081), OFFSET = -0.1307 / 0.3081;  // input = SCALE * pixel + OFFSET
const HIDDEN = { linear: 0, hidden: 32 };  // the units of each network's hidden layer
const ACTIVE = new Uint16Array(32), OUTPUTS = new Float64Array(32);  // units that count, used again and again
const LARGEST = 1e38;  // numbers of 32 bits end at 3.4e38
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
  const order = Uint32Array.from({ length: labels.length }, (_, n) => n);
  return order.sort((a, b) => labels[a] - labels[b] || a - b);
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
   PyTorch's, then its biases. `bias`, `second` and `last` are where the first layer's biases, the
   second layer's matrix and its biases begin. */
function layoutOf(network) {
  const hidden = HIDDEN[network], outputs = hidden || CLASSES;
  const bias = PIXELS * outputs, second = bias + outputs, last = second + hidden * CLASSES;
  return { hidden, outputs, bias, second, last, count: hidden ? last + CLASSES : second };
}

/* Softmax regression starts from zero, the other network as He et al. (2015): biases zero, weights
   N(0, 2 / inputs), in the order of the array: sqrt(-2 ln(1 - draw)) * cos(2 pi * next draw). */
function initialWeights(network, seed) {
  const { hidden, bias, second, last, count } = layoutOf(network), weights = new Float32Array(count);
  if (!hidden) return weights;
  const draw = randomStream(seed, "weights", 0);
  const normal = () => Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw());
  for (let n = 0; n < bias; n++) weights[n] = Math.sqrt(2 / PIXELS) * normal();
  for (let n = second; n < last; n++) weights[n] = Math.sqrt(2 / hidden) * normal();
  return weights;
}

/* ---- Loss and gradient ---- */

/* Yields now and then, so that the caller may pause it; returns the mean loss over the samples at
   the indices and how many are read correctly. Puts the gradient of the mean loss into `gradient`,
   a Float64Array, unless it is null, and returns its length. */
function* computeLoss(network, weights, samples, indices, gradient) {
  const layout = layoutOf(network), black = blackImage(layout, weights), sums = { loss: 0, correct: 0 };
  gradient?.fill(0);
  for (let from = 0; from < indices.length; from += TOGETHER) {
    if (from > 0) yield;
    addSamples(layout, weights, black, samples, indices.subarray(from, from + TOGETHER), gradient, sums);
  }
  const count = indices.length, length = gradient && finishGradient(layout, gradient, count);
  return { loss: sums.loss / count, correct: sums.correct, length };
}

/* Adds up losses, correct answers and gradients; what OFFSET adds to these comes at the end. */
function addSamples(layout, weights, black, samples, indices, gradient, sums) {
  const { hidden, outputs, bias, second, last } = layout;
  const { starts, places, values, labels } = samples;
  const units = new Float64Array(outputs), logits = hidden ? new Float64Array(CLASSES) : units;
  const logitDelta = new Float64Array(CLASSES), delta = hidden ? new Float64Array(hidden) : logitDelta;
  for (let n = 0; n < indices.length; n++) {
    const sample = indices[n], from = starts[sample], to = starts[sample + 1], label = labels[sample];
    units.set(black);
    addRows(units, weights, outputs, places, values, from, to);
    if (hidden) secondLayer(layout, weights, units, logits);

    let largest = 0;
    for (let k = 1; k < CLASSES; k++) if (logits[k] > logits[largest]) largest = k;
    let sum = 0;
    for (let k = 0; k < CLASSES; k++) sum += logitDelta[k] = Math.exp(logits[k] - logits[largest]);
    sums.loss += Math.log(sum) + logits[largest] - logits[label];
    if (largest === label) sums.correct++;
    if (!gradient) continue;

    for (let k = 0; k < CLASSES; k++) logitDelta[k] /= sum;
    logitDelta[label] -= 1;
    for (let h = 0; h < hidden; h++) {
      delta[h] = 0;
      if (units[h] === 0) continue;
      const row = second + h * CLASSES;
      for (let k = 0; k < CLASSES; k++) {
        delta[h] += weights[row + k] * logitDelta[k];
        gradient[row + k] += units[h] * logitDelta[k];
      }
    }
    if (hidden) for (let k = 0; k < CLASSES; k++) gradient[last + k] += logitDelta[k];
    for (let k = 0; k < outputs; k++) gradient[bias + k] += delta[k];
    addOuter(gradient, delta, outputs, places, values, from, to);
  }
}

/* Adds what the OFFSET of all pixels contributes, divides the sums by their count, and returns the
   gradient's length. */
function finishGradient({ outputs, bias }, gradient, count) {
  let squares = 0;
  for (let n = 0; n < bias; n += outputs)
    for (let k = 0; k < outputs; k++) {
      const value = (gradient[n + k] + OFFSET * gradient[bias + k]) / count;
      gradient[n + k] = value;
      squares += value * value;
    }
  for (let n = bias; n < gradient.length; n++) {
    gradient[n] /= count;
    squares += gradient[n] * gradient[n];
  }
  return Math.sqrt(squares);
}

/* What the first layer returns for an image without a lit pixel. */
function blackImage({ outputs, bias }, weights) {
  const sums = new Float64Array(outputs);
  for (let n = 0; n < bias; n += outputs) for (let k = 0; k < outputs; k++) sums[k] += weights[n + k];
  return sums.map((sum, k) => OFFSET * sum + weights[bias + k]);
}

/* Four pixels at a time: the sums are then read and written a quarter as often. The arrays have to be
   of the same types at every call (sums and values of 64 bits, weights of 32, places of 16): the
   browser compiles this for one set of types only, or else slower. */
function addRows(sums, weights, outputs, places, values, from, to) {
  let n = from;
  for (; n + 3 < to; n += 4) {
    const value1 = values[n], value2 = values[n + 1], value3 = values[n + 2], value4 = values[n + 3];
    const row1 = places[n] * outputs, row2 = places[n + 1] * outputs;
    const row3 = places[n + 2] * outputs, row4 = places[n + 3] * outputs;
    for (let k = 0; k < outputs; k++)
      sums[k] += value1 * weights[row1 + k] + value2 * weights[row2 + k]
        + value3 * weights[row3 + k] + value4 * weights[row4 + k];
  }
  for (; n < to; n++) for (let k = 0; k < outputs; k++) sums[k] += values[n] * weights[places[n] * outputs + k];
}

/* Only units that have a delta, half of those behind a ReLU, four at a time: their deltas then stay
   in registers. If fewer are left, the last one stands for the others with a delta of 0. */
function addOuter(gradient, delta, outputs, places, values, from, to) {
  let found = 0;
  for (let k = 0; k < outputs; k++) if (delta[k] !== 0) ACTIVE[found++] = k;
  for (let a = 0; a < found; a += 4) {
    const last = found - 1, left = found - a;
    const unit1 = ACTIVE[a], unit2 = ACTIVE[Math.min(a + 1, last)];
    const unit3 = ACTIVE[Math.min(a + 2, last)], unit4 = ACTIVE[Math.min(a + 3, last)];
    const delta1 = delta[unit1], delta2 = left > 1 ? delta[unit2] : 0;
    const delta3 = left > 2 ? delta[unit3] : 0, delta4 = left > 3 ? delta[unit4] : 0;
    for (let n = from; n < to; n++) {
      const value = values[n], row = places[n] * outputs;
      gradient[row + unit1] += value * delta1;
      gradient[row + unit2] += value * delta2;
      gradient[row + unit3] += value * delta3;
      gradient[row + unit4] += value * delta4;
    }
  }
}

/* The logits from the first layer's outputs, whose ReLU is made in place. Units that are 0 are left
   out, but not what is not a number: a run that has diverged has to show it. */
function secondLayer({ second, last }, weights, units, logits) {
  let found = 0;
  for (let h = 0; h < units.length; h++) {
    ACTIVE[found] = h;
    OUTPUTS[found] = units[h];
    if (units[h] <= 0) units[h] = 0;
    else found++;
  }
  for (let k = 0; k < CLASSES; k++) logits[k] = weights[last + k];
  addRows(logits, weights.subarray(second), CLASSES, ACTIVE, OUTPUTS, 0, found);
}

/* The logits of one image of 0 to 255. */
function computeLogits(network, weights, pixels) {
  const layout = layoutOf(network), logits = new Float64Array(CLASSES);
  const { places, values } = prepareSamples({ pixels, labels: [0] }), units = blackImage(layout, weights);
  addRows(units, weights, layout.outputs, places, values, 0, places.length);
  if (!layout.hidden) return units;
  secondLayer(layout, weights, units, logits);
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

/* Makes an update with the gradient that is in run.gradient, of this length, and the loss on the
   indices. If they are not finite, or the step is not in 32 bits, the run has diverged and its weights
   stay. */
function applyUpdate(run, { indices, loss, length }) {
  const { weights, gradient, lr } = run;
  run.batchLoss = loss;
  run.indices = indices;
  if (!(loss + length + lr * length < LARGEST)) {
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
