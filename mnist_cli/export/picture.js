/* Strokes to the input of the network, as mnist-predict prepares a picture: scaled to fit 20 x 20
   pixels, its proportions kept, the centre of mass at pixel 14 of 28 x 28.
   A stroke is a list of points { x, y, width }, all in sides of the field. */
const SIDE = 28, BOX = 20, PICTURE = 280, LARGE = 160;
const INK = 0.4, DIRT = 0.04, NEAR = 0.4, INNER = 0.1; /* as in mnist_cli/data/pictures/segment.py and components.py */
const SOFT = 0.2; /* of full ink: what is none at all */
const LEAST_WIDTH = 2.2; /* pixels of the 20: strokes of MNIST's are at least as wide */

/* Draws strokes on a canvas of `size` pixels, each line `wider` than it is. */
function paint(context, strokes, size, colour, wider = 0) {
  context.strokeStyle = context.fillStyle = colour;
  context.lineCap = context.lineJoin = "round";
  const line = (from, by, to, width) => {
    context.lineWidth = (width + wider) * size;
    context.beginPath();
    context.moveTo(from.x * size, from.y * size);
    context.quadraticCurveTo(by.x * size, by.y * size, to.x * size, to.y * size);
    context.stroke();
  };
  const middle = (a, b) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });
  for (const stroke of strokes) {
    const last = stroke.length - 1;
    context.beginPath();
    context.arc(stroke[0].x * size, stroke[0].y * size, ((stroke[0].width + wider) / 2) * size, 0, 2 * Math.PI);
    context.fill();
    stroke.forEach((point, n) => {
      const from = n ? middle(stroke[n - 1], point) : point;
      const to = n < last ? middle(point, stroke[n + 1]) : point;
      line(from, point, to, point.width);
    });
  }
}

/* Returns the longer side of the box around a digit's lines, and their mean width. */
function measured(strokes) {
  const points = withoutFar(strokes).flat(), inside = (at) => Math.min(Math.max(at, 0), 1);
  const extent = (ats) => Math.max(...ats) - Math.min(...ats);
  const longest = Math.max(extent(points.map((p) => inside(p.x))), extent(points.map((p) => inside(p.y))));
  return { longest, width: points.reduce((sum, point) => sum + point.width, 0) / points.length };
}

/* Returns how much wider thin strokes have to be, that a digit in 20 pixels has strokes of MNIST's. */
function missingWidth(strokes) {
  const { longest, width } = measured(strokes);
  return Math.max(0, (longest * LEAST_WIDTH) / (BOX - LEAST_WIDTH) - width);
}

/* Returns true for a drawing that the pen is as wide as: enlarged, a spot looks like a digit to a network. */
function isSpot(strokes) {
  const { longest, width } = measured(strokes);
  return longest <= width;
}

/* Returns the largest stroke and those near it: a stray dot does not make the digit larger. */
function withoutFar(strokes) {
  const boxes = strokes.map((stroke) => {
    const xs = stroke.map((point) => point.x), ys = stroke.map((point) => point.y);
    return { left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), bottom: Math.max(...ys) };
  });
  const size = (box) => Math.max(box.right - box.left, box.bottom - box.top);
  const largest = boxes.reduce((a, b) => (size(b) > size(a) ? b : a));
  return strokes.filter((_, n) => gapBetween(boxes[n], largest) <= NEAR * size(largest));
}

/* Returns how far apart two boxes are, across or down; negative where they overlap in both. */
function gapBetween(a, b) {
  return Math.max(a.top - b.bottom, b.top - a.bottom, a.left - b.right, b.left - a.right);
}

/* A canvas for pictures of ink, made once. */
const inkwell = Object.assign(document.createElement("canvas"), { width: PICTURE, height: PICTURE }).getContext("2d", { willReadFrequently: true });

/* Returns the ink of strokes, 280 x 280 values of 0 to 255. */
function inkOf(strokes) {
  inkwell.fillStyle = "#000";
  inkwell.fillRect(0, 0, PICTURE, PICTURE);
  if (strokes.length) paint(inkwell, strokes, PICTURE, "#fff", missingWidth(strokes));
  const { data } = inkwell.getImageData(0, 0, PICTURE, PICTURE);
  const ink = new Uint8Array(PICTURE * PICTURE);
  for (let n = 0; n < ink.length; n++) ink[n] = data[4 * n]; /* red: all colours are alike */
  return ink;
}

/* Returns 28 x 28 pixels of 0 to 255, light on dark, of such ink; nothing where there is none. */
function prepared(ink) {
  return preparation(ink)?.pixels ?? null;
}

/* Returns those pixels, and the boxes { left, top, width, height } between which the digit was moved. */
function preparation(ink) {
  const values = new Float64Array(PICTURE * PICTURE);
  const kept = withoutDirt(ink);
  for (let n = 0; n < values.length; n++) values[n] = Math.max(0, (kept[n] / 255 - SOFT) / (1 - SOFT));
  const cut = cropped({ values, height: PICTURE, width: PICTURE });
  return cut && { from: cut.box, ...centred(fitted(fitted(cut, LARGE), BOX)) };
}

/* Returns the ink of the largest connected component and of those near it: what is small or far away is no part of the digit. */
function withoutDirt(ink) {
  const { labels, components } = connected(ink);
  const larger = (a, b) => (b.area > a.area ? b : a), none = { area: 0 };
  const isInner = (c) => c.top > 0 && c.left > 0 && c.bottom < PICTURE - 1 && c.right < PICTURE - 1;
  let largest = components.reduce(larger, none);
  const inner = components.filter(isInner).reduce(larger, none);
  if (inner.area > INNER * largest.area) largest = inner;
  const reach = NEAR * (1 + Math.max(largest.bottom - largest.top, largest.right - largest.left));
  const isDigit = components.map((c) => c.area >= DIRT * largest.area && gapBetween(c, largest) - 1 <= reach);
  const kept = ink.slice();
  labels.forEach((label, place) => {
    if (!label || isDigit[label - 1]) return;
    for (const at of around(place, 2)) if (!isDigit[labels[at] - 1]) kept[at] = 0; /* its soft edge, too */
  });
  return kept;
}

/* Returns the number of each pixel's connected component, from 1, and the area and box of each. */
function connected(ink) {
  const labels = new Int32Array(ink.length), components = [];
  for (let first = 0; first < ink.length; first++) {
    if (labels[first] || ink[first] <= INK * 255) continue;
    const component = { area: 0, top: PICTURE, left: PICTURE, bottom: -1, right: -1 };
    components.push(component);
    labels[first] = components.length;
    for (const stack = [first]; stack.length; ) {
      const place = stack.pop(), y = Math.floor(place / PICTURE), x = place % PICTURE;
      component.area++;
      [component.top, component.bottom] = [Math.min(component.top, y), Math.max(component.bottom, y)];
      [component.left, component.right] = [Math.min(component.left, x), Math.max(component.right, x)];
      for (const at of around(place, 1))
        if (!labels[at] && ink[at] > INK * 255) {
          labels[at] = components.length;
          stack.push(at);
        }
    }
  }
  return { labels, components };
}

/* Returns the places up to `reach` pixels away from one. */
function around(place, reach) {
  const places = [], y = Math.floor(place / PICTURE), x = place % PICTURE, last = PICTURE - 1;
  for (let row = Math.max(y - reach, 0); row <= Math.min(y + reach, last); row++)
    for (let column = Math.max(x - reach, 0); column <= Math.min(x + reach, last); column++) places.push(row * PICTURE + column);
  return places;
}

function cropped({ values, height, width }) {
  const enough = values.reduce((a, b) => Math.max(a, b), 0) / 3;
  let top = height, left = width, bottom = -1, right = -1;
  for (let n = 0; n < values.length; n++)
    if (values[n] > enough) {
      const y = Math.floor(n / width), x = n % width;
      [top, bottom, left, right] = [Math.min(top, y), Math.max(bottom, y), Math.min(left, x), Math.max(right, x)];
    }
  if (bottom < 0) return null;
  const box = { left, top, width: right - left + 1, height: bottom - top + 1 };
  const cut = { height: box.height, width: box.width, box };
  cut.values = new Float64Array(cut.height * cut.width);
  for (let y = 0; y < cut.height; y++)
    cut.values.set(values.subarray((top + y) * width + left, (top + y) * width + right + 1), y * cut.width);
  return cut;
}

/* Rounds as Python does: what lies halfway, to the even number. */
function rounded(value) {
  return Math.abs(value % 1) === 0.5 ? 2 * Math.round(value / 2) : Math.round(value);
}

/* Scales the longer side to `side`: down with a filter as wide as the step, up linearly. */
function fitted({ values, height, width }, side) {
  const scale = side / Math.max(height, width), size = (length) => Math.max(1, rounded(length * scale));
  const rows = weightsOf(height, size(height)), columns = weightsOf(width, size(width));
  const lines = new Float64Array(height * columns.length);
  for (let y = 0; y < height; y++)
    columns.forEach(([first, shares], x) => {
      lines[y * columns.length + x] = shares.reduce((sum, share, n) => sum + share * values[y * width + first + n], 0);
    });
  const scaled = new Float64Array(rows.length * columns.length);
  rows.forEach(([first, shares], y) => {
    for (let x = 0; x < columns.length; x++)
      scaled[y * columns.length + x] = shares.reduce((sum, share, n) => sum + share * lines[(first + n) * columns.length + x], 0);
  });
  return { values: scaled, height: rows.length, width: columns.length };
}

/* For each of `made` places: the first of `given` that it takes from, and the shares of those. */
function weightsOf(given, made) {
  const step = given / made, reach = Math.max(step, 1);
  return Array.from({ length: made }, (_, place) => {
    const centre = step * (place + 0.5);
    const first = Math.max(0, Math.floor(centre - reach + 0.5)), end = Math.min(given, Math.floor(centre + reach + 0.5));
    const shares = Array.from({ length: end - first }, (_, n) => Math.max(0, 1 - Math.abs((first + n + 0.5 - centre) / reach)));
    const sum = shares.reduce((a, b) => a + b);
    return [first, shares.map((share) => share / sum)];
  });
}

function centred({ values, height, width }) {
  let sum = 0, down = 0, across = 0;
  values.forEach((value, n) => { sum += value; down += value * Math.floor(n / width); across += value * (n % width); });
  const place = (centre, length) => Math.min(Math.max(rounded(SIDE / 2 - centre), 0), SIDE - length);
  const top = place(down / sum, height), left = place(across / sum, width);
  const darkest = values.reduce((a, b) => Math.max(a, b)), pixels = new Uint8Array(SIDE * SIDE);
  values.forEach((value, n) => {
    pixels[(top + Math.floor(n / width)) * SIDE + left + (n % width)] = rounded((255 * value) / darkest);
  });
  return { pixels, to: { left, top, width, height } };
}
