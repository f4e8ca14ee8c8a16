/* What is drawn: the batch, the curves, the path, the weights. Nothing here keeps a state but caches. */
const LETTERS = ["A", "B", "C"];
const DASHES = [[], [9, 4], [2, 4]]; /* a run is known by its letter and line, not by colour alone */
let theme; /* the colours of the page as it is shown now */

function readTheme() {
  const style = getComputedStyle(document.documentElement), of = (name) => style.getPropertyValue(name).trim();
  const rgb = (name) => of(name).match(/[0-9a-f]{2}/gi).map((part) => parseInt(part, 16));
  theme = {
    runs: ["--a", "--b", "--c"].map(of), font: getComputedStyle(document.body).fontFamily,
    ink: of("--ink"), soft: of("--soft"), line: of("--line"), card: of("--card"), accent: of("--accent"),
    paper: rgb("--paper"), pixel: rgb("--ink"), low: rgb("--low"), high: rgb("--high"), neutral: rgb("--card"),
    less: rgb("--less"), more: rgb("--more"),
  };
}

/* Clears a canvas and fits it to its size on the screen. */
function fresh(canvas, clear = true) {
  const ratio = Math.min(devicePixelRatio, 2), width = canvas.clientWidth, height = canvas.clientHeight;
  const size = { width: Math.round(width * ratio), height: Math.round(height * ratio) };
  if (canvas.width !== size.width || canvas.height !== size.height) Object.assign(canvas, size);
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  if (clear) pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

/* ---- Images in rows: batches and weights ---- */

/* Draws images of 28 x 28 as tiles, as large as they can be; `colourOf(tile, pixel)` returns red, green and blue. */
function drawTiles(canvas, count, colourOf) {
  const { pen } = fresh(canvas), { width, height } = canvas;
  if (!width || !height || !count) return null;
  let side = 0, columns = 1;
  for (let some = 1; some <= count; some++) {
    const fits = Math.min(width / some, height / Math.ceil(count / some));
    if (fits > side) [side, columns] = [fits, some];
  }
  if (side > 14) side = Math.floor(side); /* small tiles are not all as large to the pixel, but fill the place */
  const gap = side > 8 ? Math.max(1, Math.round(side / 24)) : side > 3 ? 1 : 0, shown = Math.max(1, Math.floor(side) - gap);
  const [wide, high] = [columns, Math.ceil(count / columns)].map((tiles) => Math.round((tiles - 1) * side) + shown);
  const image = pen.createImageData(wide, high), { data } = image;
  const fine = shown < 28; /* then each pixel is the mean of four places of the image */
  const places = Array.from({ length: shown }, (_, n) => [0.25, 0.75].map((part) => Math.floor(((n + part) * 28) / shown)));
  for (let tile = 0; tile < count; tile++) {
    const left = Math.round((tile % columns) * side), top = Math.round(Math.floor(tile / columns) * side);
    for (let y = 0; y < shown; y++) {
      const [up, down] = places[y];
      for (let x = 0; x < shown; x++) {
        const [before, after] = places[x], at = 4 * ((top + y) * wide + left + x);
        const [red, green, blue] = fine
          ? colourOf(tile, 28 * up + before, 28 * up + after, 28 * down + before, 28 * down + after)
          : colourOf(tile, 28 * up + before);
        data[at] = red; data[at + 1] = green; data[at + 2] = blue; data[at + 3] = 255;
      }
    }
  }
  const left = Math.round((width - wide) / 2), top = Math.round((height - high) / 2);
  pen.putImageData(image, left, top);
  return { side, columns, left, top };
}

/* Returns a table of 256 colours from one to the other. */
function shades(from, to) {
  return Array.from({ length: 256 }, (_, n) => from.map((part, at) => Math.round(part + ((to[at] - part) * n) / 255)));
}

function drawBatch(canvas, pixels, indices, all) {
  const table = shades(theme.paper, theme.pixel), whole = indices.length === all;
  drawTiles(canvas, indices.length, (tile, ...places) => {
    const start = 784 * (whole ? tile : indices[tile]);
    let sum = 0;
    for (const place of places) sum += pixels[start + place];
    return table[Math.round(sum / places.length)];
  });
}

/* Draws each output's weights of the first layer; `labels` stand in the corners, if there are any. */
function drawWeights(canvas, weights, outputs, labels) {
  let most = 1e-6;
  for (let n = 0; n < 784 * outputs; n++) most = Math.max(most, Math.abs(weights[n]));
  const [less, more] = [shades(theme.neutral, theme.less), shades(theme.neutral, theme.more)];
  const tiles = drawTiles(canvas, outputs, (tile, ...places) => {
    let sum = 0;
    for (const place of places) sum += weights[place * outputs + tile];
    const share = Math.max(-1, Math.min(1, (1.3 * sum) / places.length / most)); /* few reach the largest */
    return share < 0 ? less[Math.round(-255 * share)] : more[Math.round(255 * share)];
  });
  if (!tiles || !labels) return;
  const { pen } = fresh(canvas, false);
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.font = `600 ${Math.max(9, Math.round(tiles.side / (labels[0].length > 1 ? 7 : 5)))}px ${theme.font}`;
  pen.textBaseline = "top"; pen.fillStyle = theme.ink; pen.strokeStyle = theme.card; pen.lineWidth = 3; pen.lineJoin = "round";
  labels.forEach((label, n) => {
    const at = [tiles.left + (n % tiles.columns) * tiles.side + 4, tiles.top + Math.floor(n / tiles.columns) * tiles.side + 4];
    pen.strokeText(label, ...at); pen.fillText(label, ...at);
  });
}

/* ---- The angle between two gradients ---- */

function drawAngle(canvas, cosine, colour) {
  const { pen, width, height } = fresh(canvas), [x, y] = [width / 2, height - 6], length = height - 12;
  const arrow = (angle, ink, dash) => {
    const [tipX, tipY] = [x + length * Math.sin(angle), y - length * Math.cos(angle)];
    pen.strokeStyle = pen.fillStyle = ink; pen.lineWidth = 2.2; pen.setLineDash(dash);
    pen.beginPath(); pen.moveTo(x, y); pen.lineTo(tipX, tipY); pen.stroke(); pen.setLineDash([]);
    pen.beginPath(); pen.moveTo(tipX, tipY);
    for (const side of [-0.4, 0.4]) pen.lineTo(tipX - 8 * Math.sin(angle + side), tipY + 8 * Math.cos(angle + side));
    pen.fill();
  };
  pen.strokeStyle = theme.line; pen.lineWidth = 1;
  pen.beginPath(); pen.arc(x, y, length, -Math.PI, 0); pen.stroke();
  arrow(0, theme.soft, [3, 3]);
  if (cosine === null) return;
  arrow(Math.acos(Math.max(-1, Math.min(1, cosine))), colour, []);
}

/* ---- Curves ---- */

/* series: [{ run, points: [[x, y], ...], bold }]. `form` writes a value of y. */
function drawCurves(canvas, series, { low, high, form, label, whole }) {
  const { pen, width, height } = fresh(canvas), size = width > 700 ? 15 : 13;
  const box = { left: (form(1).length > 3 ? 4 : 2.6) * size, right: width - 1.6 * size, top: 8, bottom: height - 2.9 * size };
  const most = Math.max(...series.map(({ points }) => points.at(-1)?.[0] ?? 0)) || (whole ? 10 : 1);
  const X = (x) => box.left + (x / most) * (box.right - box.left);
  const Y = (y) => box.bottom - ((Math.min(Math.max(y, low), high) - low) / (high - low)) * (box.bottom - box.top);
  pen.font = `${size}px ${theme.font}`; pen.lineWidth = 1;
  pen.textAlign = "right"; pen.textBaseline = "middle";
  for (const tick of ticks(low, high, false, 5)) {
    pen.strokeStyle = theme.line; pen.beginPath(); pen.moveTo(box.left, Y(tick)); pen.lineTo(box.right, Y(tick)); pen.stroke();
    pen.fillStyle = theme.soft; pen.fillText(form(tick), box.left - 7, Y(tick));
  }
  pen.textAlign = "center"; pen.textBaseline = "alphabetic";
  for (const tick of ticks(0, most, false, width < 420 ? 4 : 6, whole ? 1 : 0)) {
    pen.strokeStyle = theme.soft; pen.beginPath(); pen.moveTo(X(tick), box.bottom); pen.lineTo(X(tick), box.bottom + 4); pen.stroke();
    pen.fillText(short(tick), X(tick), box.bottom + 1.35 * size);
  }
  pen.strokeStyle = theme.soft; pen.beginPath(); pen.moveTo(box.left, box.bottom); pen.lineTo(box.right, box.bottom); pen.stroke();
  pen.fillText(label, (box.left + box.right) / 2, height - 4);
  pen.lineJoin = "round";
  for (const { run, points, bold } of series) {
    pen.strokeStyle = theme.runs[run]; pen.globalAlpha = bold ? 1 : Math.min(0.42, Math.max(0.12, 6 / Math.sqrt(points.length))); pen.lineWidth = bold ? 2.6 : 1;
    pen.setLineDash(bold ? DASHES[run] : []);
    pen.beginPath();
    for (const [x, y] of points) pen.lineTo(X(x), Y(y));
    pen.stroke();
  }
  pen.globalAlpha = 1; pen.setLineDash([]);
  const ends = series.filter(({ bold, points }) => bold && points.length > 0)
    .map(({ run, points }) => ({ run, x: X(points.at(-1)[0]), y: Y(points.at(-1)[1]) })).sort((a, b) => a.y - b.y);
  ends.forEach((end, n) => {
    const above = ends.slice(0, n).filter((other) => Math.abs(other.x - end.x) < 1.4 * size).at(-1);
    end.at = above ? Math.max(end.y, above.at + 1.4 * size) : end.y;
  });
  for (let n = ends.length - 1; n >= 0; n--) { /* what would lie below the axis moves up, and with it what it meets there */
    const end = ends[n], below = ends.slice(n + 1).find((other) => Math.abs(other.x - end.x) < 1.4 * size);
    end.at = Math.min(end.at, below ? below.at - 1.4 * size : box.bottom - 0.2 * size);
    drawBadge(pen, end.run, end.x + 0.8 * size, end.at, size);
  }
}

function drawBadge(pen, run, x, y, size) {
  pen.fillStyle = theme.runs[run]; pen.strokeStyle = theme.card; pen.lineWidth = 2;
  pen.beginPath();
  shapeOf(pen, run, x, y, 0.72 * size);
  pen.stroke(); pen.fill();
  pen.fillStyle = theme.card; pen.font = `700 ${0.85 * size}px ${theme.font}`; pen.textAlign = "center"; pen.textBaseline = "middle";
  pen.fillText(LETTERS[run], x, y + 0.06 * size);
  pen.font = `${size}px ${theme.font}`; pen.textBaseline = "alphabetic";
}

/* Adds a run's shape to the path: a disc, a square, a diamond. */
function shapeOf(pen, run, x, y, r) {
  pen.moveTo(x + r, y);
  if (run === 0) pen.arc(x, y, r, 0, 2 * Math.PI);
  else if (run === 1) pen.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r);
  else { pen.lineTo(x, y + 1.15 * r); pen.lineTo(x - 1.15 * r, y); pen.lineTo(x, y - 1.15 * r); pen.lineTo(x + 1.15 * r, y); }
}

/* ---- The path ---- */

const CONTOURS = 9, FEWEST_CONTOURS = 7;

/* Returns round levels for the contours of a picture that shows these losses, sorted: between them lie
   shares of the picture that grow with the loss, so that most levels are near the lowest. */
function contourLevels(losses) {
  const wanted = Array.from({ length: CONTOURS }, (_, n) => losses[Math.floor(((n + 1) / (CONTOURS + 1)) ** 1.5 * losses.length)]);
  let levels = [];
  for (let digits = 1; digits < 5 && levels.length < FEWEST_CONTOURS; digits++)
    levels = [...new Set(wanted.map((loss) => +loss.toPrecision(digits)))].filter((level) => level > losses[0] && level < losses.at(-1));
  return levels;
}

/* Returns the losses of the grid that the picture shows, sorted. */
function shownLosses({ x0, x1, y0, y1, columns, rows, values }, width, height, X, Y) {
  const isShown = (at, length, map, from, to, count) => Math.abs(map(from + ((to - from) * at) / (count - 1)) - length / 2) <= length / 2 + 1;
  return [...values].filter((value, n) => Number.isFinite(value)
    && isShown(n % columns, width, X, x0, x1, columns) && isShown(Math.floor(n / columns), height, Y, y0, y1, rows)).sort((a, b) => a - b);
}

/* Returns a picture of the loss over the plane: bands between contours, with the contours' labels. */
let hills = { key: null };
function contours(plane, width, height, X, Y) {
  const key = [plane.number, width, height, X.inverse(0), X.inverse(1), Y.inverse(0), theme.card].join();
  if (hills.key === key) return hills;
  const losses = shownLosses(plane.grid, width, height, X, Y), low = Math.max(losses[0] ?? 1, 1e-4), high = Math.max(losses.at(-1) ?? 1, low * 1.01);
  const levels = losses.length ? contourLevels(losses).filter((level) => level > low) : [], logs = [low, ...levels, high].map(Math.log);
  const place = (value) => { /* among the levels: contours lie at 1, 2, 3 ... */
    const log = Math.log(Math.min(Math.max(Number.isFinite(value) ? value : high, low), high));
    let n = 1;
    while (n < logs.length - 1 && logs[n] < log) n++;
    return n - 1 + (log - logs[n - 1]) / (logs[n] - logs[n - 1] || 1);
  };
  const { columns, rows, values: nodes } = smoothed(plane.grid, place), field = new Float32Array(width * height);
  const { x0, x1, y0, y1 } = plane.grid;
  for (let y = 0; y < height; y++) {
    const row = Math.min(Math.max(((Y.inverse(y + 0.5) - y0) / (y1 - y0)) * (rows - 1), 0), rows - 1.001), v = Math.floor(row), down = row - v;
    for (let x = 0; x < width; x++) {
      const column = Math.min(Math.max(((X.inverse(x + 0.5) - x0) / (x1 - x0)) * (columns - 1), 0), columns - 1.001), u = Math.floor(column), right = column - u;
      const at = v * columns + u, above = nodes[at] + (nodes[at + 1] - nodes[at]) * right;
      const below = nodes[at + columns] + (nodes[at + columns + 1] - nodes[at + columns]) * right;
      field[y * width + x] = above + (below - above) * down;
    }
  }
  const canvas = Object.assign(document.createElement("canvas"), { width, height }), pen = canvas.getContext("2d");
  const image = pen.createImageData(width, height), { data } = image, bands = levels.length;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const at = y * width + x, value = field[at];
      const slopeX = field[x + 1 < width ? at + 1 : at] - field[x > 0 ? at - 1 : at], slopeY = field[y + 1 < height ? at + width : at] - field[y > 0 ? at - width : at];
      const slope = Math.hypot(slopeX, slopeY) / 2 + 1e-6, nearest = Math.min(Math.max(Math.round(value), 1), bands);
      const edge = Math.max(0, 1 - Math.abs(value - nearest) / slope), share = Math.min(1, Math.max(0, Math.floor(value) / (bands || 1)));
      for (let part = 0; part < 3; part++) {
        const band = theme.low[part] + (theme.high[part] - theme.low[part]) * share;
        data[4 * at + part] = band + (theme.pixel[part] - band) * 0.22 * edge;
      }
      const isMeasured = x >= X(x0) && x <= X(x1) && y >= Y(y1) && y <= Y(y0);
      data[4 * at + 3] = isMeasured ? 255 : 70; /* beyond the grid it is the value at its edge */
    }
  pen.putImageData(image, 0, 0);
  hills = { key, canvas, labels: edgeLabels(field, width, height, levels) };
  return hills;
}

/* Returns the grid's values, as `place` says, on a grid four times as fine: Catmull and Rom's curves through them. */
function smoothed({ columns, rows, values }, place) {
  const fine = 4, between = (line, count) => Array.from({ length: (count - 1) * fine + 1 }, (_, n) => {
    const at = Math.min(Math.floor(n / fine), count - 2), t = n / fine - at;
    const [a, b, c, d] = [at - 1, at, at + 1, at + 2].map((m) => line[Math.min(Math.max(m, 0), count - 1)]);
    const value = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)));
    return Math.min(Math.max(value, Math.min(b, c)), Math.max(b, c)); /* no hills that nobody measured */
  });
  const lines = Array.from({ length: rows }, (_, row) => between(Array.from(values.slice(row * columns, (row + 1) * columns), place), columns));
  const upright = lines[0].map((_, column) => between(lines.map((line) => line[column]), rows));
  const size = { columns: upright.length, rows: upright[0].length };
  return { ...size, values: Float32Array.from({ length: size.columns * size.rows }, (_, n) => upright[n % size.columns][Math.floor(n / size.columns)]) };
}

/* Returns where contours meet the right and the lower edge of the picture, not too close to each other. */
function edgeLabels(field, width, height, levels) {
  const labels = [], edge = 12;
  const walk = (count, gap, at, place) => {
    let last = -100;
    for (let n = 20; n < count - 30; n++) {
      const [a, b] = [Math.floor(field[at(n - 1)]), Math.floor(field[at(n)])];
      if (a === b || n - last < gap) continue;
      labels.push([...place(n), levels[Math.max(a, b) - 1]]);
      last = n;
    }
  };
  walk(height, 28, (n) => n * width + width - 1 - edge, (n) => [width - 6, n, "right"]);
  walk(width - 60, 46, (n) => (height - 1 - edge) * width + n, (n) => [n, height - 8, "center"]);
  return labels.filter(([, , , level]) => level !== undefined);
}

function drawPath(canvas, plane, words) {
  const { pen, width, height } = fresh(canvas), { x0, x1, y0, y1 } = plane.grid;
  if (!width || !height) return; /* while the page is laid out anew */
  /* The same scale along both axes: the grid fills the picture if every point of the paths stays inside. */
  const spans = [0, 1].map((part) => {
    const values = plane.paths.flat().map((point) => point[part]);
    return [Math.min(0, ...values), Math.max(0, ...values)];
  });
  const fit = Math.min(...[width, height].map((length, part) => (length - 60) / (spans[part][1] - spans[part][0] || 1)));
  const scale = Math.min(Math.max(width / (x1 - x0), height / (y1 - y0)), fit);
  const axis = (from, to, [low, high], length, way) => {
    /* The middle is the grid's, moved as far as the paths need it. */
    const half = length / 2 / scale, room = 30 / scale, middle = Math.max(Math.min((from + to) / 2, low - room + half), high + room - half);
    const map = (value) => length / 2 + way * (value - middle) * scale;
    map.inverse = (at) => middle + (way * (at - length / 2)) / scale;
    return map;
  };
  const X = axis(x0, x1, spans[0], width, 1), Y = axis(y0, y1, spans[1], height, -1);
  const { canvas: picture, labels } = contours(plane, width, height, X, Y);
  pen.drawImage(picture, 0, 0, width, height);
  const size = width > 560 ? 15 : 13;
  pen.font = `${size - 2}px ${theme.font}`; pen.textBaseline = "middle"; pen.fillStyle = theme.soft;
  for (const [x, y, side, level] of labels) { pen.textAlign = side; halo(pen, String(level), x, y); }
  pen.font = `${size}px ${theme.font}`; pen.lineJoin = pen.lineCap = "round";
  plane.paths.forEach((path, run) => {
    if (!path?.length) return;
    const trace = () => { pen.beginPath(); for (const [x, y] of path) pen.lineTo(X(x), Y(y)); pen.stroke(); };
    pen.globalAlpha = 0.75; pen.strokeStyle = theme.card; pen.lineWidth = 4.5; trace();
    pen.globalAlpha = 1; pen.strokeStyle = theme.runs[run]; pen.lineWidth = 1.8; trace();
    const every = Math.ceil(path.length / 250), r = path.length > 60 ? 2 : 3.2;
    pen.fillStyle = theme.runs[run];
    pen.beginPath();
    path.forEach(([x, y], n) => { if (n % every === 0) shapeOf(pen, run, X(x), Y(y), r); });
    pen.fill();
  });
  const [x, y] = plane.start;
  pen.strokeStyle = theme.ink; pen.fillStyle = theme.card; pen.lineWidth = 2;
  pen.beginPath(); pen.arc(X(x), Y(y), 5, 0, 2 * Math.PI); pen.fill(); pen.stroke();
  pen.fillStyle = theme.ink; pen.textBaseline = "middle";
  const ends = plane.paths.filter((path) => path?.length > 1).map((path) => path.at(-1));
  const mean = (part, from) => ends.reduce((sum, end) => sum + end[part] - from, 0); /* where the paths lead, which the word leaves free */
  const [toX, toY] = [mean(0, x), mean(1, y)], isBeside = Math.abs(toX) > Math.abs(toY), side = isBeside ? (toX > 0 ? "right" : "left") : "center";
  pen.textAlign = side;
  const wide = pen.measureText(words.start).width + 12, beside = X(x) + (side === "right" ? -11 : side === "left" ? 11 : 0);
  const [textX, below] = side === "right" && beside < wide ? [X(x), true] : side === "left" && beside > width - wide ? [X(x), true] : [beside, !isBeside];
  if (below) pen.textAlign = "center";
  halo(pen, words.start, Math.min(Math.max(textX, wide / 2), width - wide / 2 + (below ? 0 : wide)), Y(y) + (below ? (toY > 0 ? 16 : -16) : 0));
  const badges = [];
  plane.paths.forEach((path, run) => {
    if (!path || path.length < 2) return;
    let [atX, atY] = [X(path.at(-1)[0]), Y(path.at(-1)[1])];
    for (const [otherX, otherY] of badges) /* where runs end together, their letters stand side by side */
      if (Math.hypot(atX - otherX, atY - otherY) < 1.5 * size) [atX, atY] = [otherX + 1.6 * size, otherY];
    badges.push([atX, atY]);
    drawBadge(pen, run, atX, atY, size);
  });
}

function halo(pen, text, x, y) {
  pen.strokeStyle = theme.card; pen.lineWidth = 3.5; pen.globalAlpha = 0.7; pen.strokeText(text, x, y); pen.globalAlpha = 1;
  pen.fillText(text, x, y);
}
