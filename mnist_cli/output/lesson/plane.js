"use strict";
/* The plane that the paths of the runs of one network are drawn in, and the loss in it.

   It goes through the start, where all runs begin, through the weights of the best run and those of
   another: of several, the one furthest off the line to the best. If there is no other, or it lies on
   that line, the plane holds the direction in which the paths leave the line most: their first
   principal direction once the line is taken out. All other directions are hidden. */

const ON_THE_LINE = 0.05;  // the share of its way by which another run has to be off the line
const PRINCIPAL_POINTS = 64, PRINCIPAL_STEPS = 20;
const MARGIN = 0.15, NARROWEST = 0.8;  // of the grid: shares of its longer side

/* `paths`: for each run [[update, weights], ...], the first at the start, the last where it is now;
   `best`: the index of the best run; `next`: its next gradient, a direction where nothing else gives
   one; `before`: the last axes or undefined; `size`: { columns, rows } of the grid, and the `aspect`
   (width to height) that it fills at least, or undefined.
   Returns { axes: [x, y], paths, outside, outsideSteps, grid }, or null if nothing moved. */
function* computePlane(network, samples, paths, best, next, before, { aspect, ...size }) {
  const start = paths[0][0][1];
  const directions = yield* findAxes(start, paths, best, next, before);
  if (!directions) return null;
  const axes = directions.map((direction) => Float32Array.from(direction));
  const found = { axes, paths: [], outside: [], outsideSteps: [] };
  for (const path of paths) {
    const way = { all: 0, inside: 0 }, steps = { all: 0, inside: 0 };
    const points = [];
    for (const [n, [update, weights]] of path.entries()) {
      const from = difference(weights, start), [x, y] = axes.map((axis) => dot(from, axis));
      addSquares(way, from, x, y);
      if (n > 0) {
        const [[lastX, lastY], [, lastWeights]] = [points[n - 1], path[n - 1]];
        addSquares(steps, difference(weights, lastWeights), x - lastX, y - lastY);
      }
      points.push([x, y, update]);
      yield;
    }
    found.paths.push(points);
    found.outside.push(shareOutside(way));
    found.outsideSteps.push(shareOutside(steps));
  }
  const grid = { ...frame(found.paths.flat(), aspect), ...size };
  grid.values = yield* computeGrid(network, samples, start, axes, grid);
  return { ...found, grid };
}

function addSquares(sums, vector, x, y) {
  sums.all += dot(vector, vector);
  sums.inside += x * x + y * y;
}

/* The length outside the plane to the whole length, both as root mean squares. */
function shareOutside({ all, inside }) {
  return all > 0 ? Math.sqrt(Math.max(0, all - inside) / all) : 0;
}

/* Two orthogonal directions of length 1. The run that comes first gives the first, whichever is the
   best at the moment: else the picture would turn over whenever that changes. */
function* findAxes(start, paths, best, next, before) {
  const ways = paths.map((path) => difference(path.at(-1)[1], start));
  const line = unit(ways[best]);
  if (!line) return null;
  const off = ways.map((way) => norm(without(way, line)));
  const other = off.indexOf(Math.max(...off));
  if (off[other] > ON_THE_LINE * norm(ways[other])) {
    const [first, second] = [best, other].sort((a, b) => a - b);
    const x = unit(ways[first]);
    return [x, unit(without(ways[second], x))];
  }
  const y = yield* principalDirection(start, paths.flat(), line, next);
  if (!y) return null;
  const turned = before?.[1].length === y.length && dot(before[1], y) < 0;
  return [line, turned ? y.map((value) => -value) : y];
}

function* principalDirection(start, points, line, next) {
  const every = Math.ceil(points.length / PRINCIPAL_POINTS);
  const rests = points.filter((_, n) => n % every === 0)
    .map(([, weights]) => without(difference(weights, start), line));
  const lengths = rests.map(norm), longest = Math.max(...lengths);
  // A path of one update has no rest but rounding.
  if (!(longest > 1e-5 * norm(difference(points.at(-1)[1], start)))) return unit(without(next, line));
  let direction = unit(rests[lengths.indexOf(longest)]);
  for (let step = 0; step < PRINCIPAL_STEPS; step++) {
    const sum = new Float64Array(start.length);
    for (const rest of rests) {
      const along = dot(rest, direction);
      for (let n = 0; n < sum.length; n++) sum[n] += along * rest[n];
    }
    direction = unit(sum);
    yield;
  }
  return unit(without(direction, line));
}

/* The rectangle around the points, with a margin, and as wide or high as the aspect asks for. */
function frame(points, aspect) {
  const [x0, x1, y0, y1] = [[0, Math.min], [0, Math.max], [1, Math.min], [1, Math.max]].map(
    ([axis, least]) => points.reduce((found, point) => least(found, point[axis]), 0));
  const longer = Math.max(x1 - x0, y1 - y0);
  let [x, y] = [x1 - x0, y1 - y0].map((side) => Math.max(side, NARROWEST * longer) / 2 + MARGIN * longer);
  if (aspect) [x, y] = [Math.max(x, aspect * y), Math.max(y, x / aspect)];
  return {
    x0: (x0 + x1) / 2 - x, x1: (x0 + x1) / 2 + x, y0: (y0 + y1) / 2 - y, y1: (y0 + y1) / 2 + y,
  };
}

/* The mean loss over all samples at each point of the grid, row by row, the first at y0. The first
   layer's outputs are linear in the weights, so three of them give those of every point. */
function* computeGrid(network, samples, start, axes, { x0, x1, y0, y1, columns, rows }) {
  const layout = layoutOf(network), { outputs, second, hidden } = layout;
  const units = [];
  for (const weights of [start, ...axes]) units.push(yield* firstLayer(layout, weights, samples));
  const [base, alongX, alongY] = units;
  const values = new Float32Array(rows * columns), point = new Float32Array(start.length);
  const outs = new Float64Array(outputs), logits = hidden ? new Float64Array(CLASSES) : outs;
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      const x = x0 + (x1 - x0) * column / (columns - 1), y = y0 + (y1 - y0) * row / (rows - 1);
      for (let n = second; n < start.length; n++) point[n] = start[n] + x * axes[0][n] + y * axes[1][n];
      let sum = 0;
      for (let n = 0; n < samples.count; n++) {
        const from = n * outputs;
        for (let k = 0; k < outputs; k++)
          outs[k] = base[from + k] + x * alongX[from + k] + y * alongY[from + k];
        if (hidden) secondLayer(layout, point, outs, logits);
        sum += crossEntropy(logits, samples.labels[n]);
      }
      values[row * columns + column] = sum / samples.count;
      yield;
    }
  return values;
}

function* firstLayer(layout, weights, samples) {
  const { outputs } = layout, { starts, places, values, count } = samples;
  const black = blackImage(layout, weights), found = new Float64Array(count * outputs);
  for (let n = 0; n < count; n++) {
    if (n % TOGETHER === 0) yield;
    const units = found.subarray(n * outputs, (n + 1) * outputs);
    units.set(black);
    addRows(units, weights, outputs, places, values, starts[n], starts[n + 1]);
  }
  return found;
}

function crossEntropy(logits, label) {
  let largest = logits[0], sum = 0;
  for (let k = 1; k < CLASSES; k++) if (logits[k] > largest) largest = logits[k];
  for (let k = 0; k < CLASSES; k++) sum += Math.exp(logits[k] - largest);
  return Math.log(sum) + largest - logits[label];
}

/* ---- Vectors ---- */

function difference(a, b) {
  const found = new Float64Array(a.length);
  for (let n = 0; n < a.length; n++) found[n] = a[n] - b[n];
  return found;
}

function norm(vector) {
  return Math.sqrt(dot(vector, vector));
}

/* The vector in length 1, null for zero. */
function unit(vector) {
  const length = norm(vector);
  return length > 0 ? vector.map((value) => value / length) : null;
}

/* The part of the vector at right angles to a direction. */
function without(vector, direction) {
  const along = dot(vector, direction), found = new Float64Array(vector.length);
  for (let n = 0; n < found.length; n++) found[n] = vector[n] - along * direction[n];
  return found;
}
