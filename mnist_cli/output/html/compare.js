const AXES = { updates: [0, "updates"], samples: [1, "samples seen"], seconds: [2, "seconds of training"] };
const LARGE = "#large"; /* of the address, for projectors */
const hidden = new Set();
let axis = "updates", scale = "log";

function draw() {
  const [column, label] = AXES[axis], log = scale !== "linear", isError = scale === "error";
  const shown = data.runs.filter((run) => !hidden.has(run.size));
  chart($("loss"), curves(column, (p) => p[3], log, true), { label, logX: log, logY: log, unit: "nats", most: data.highestLoss });
  $("accuracy-caption").textContent = isError ? "Test error" : "Test accuracy";
  chart($("accuracy"), curves(column, (p) => (isError ? 1 - p[4] : p[4]), log), { label, logX: log, logY: isError, percent: true, form: percents });
  const finding = data.findings.find((f) => f.about === "equal " + axis || f.about === axis);
  $("finding").replaceChildren(...(finding ? explained(finding.short, new Set()) : []));
  drawProbes(shown);
}

const percents = (v) => +(100 * v).toPrecision(4) + " %";

/* Returns the mean curve of each batch size with its band and, of losses, dots. Where a run diverged
   it has the curve of every run instead: the mean of the others would be better than they are. */
function curves(column, value, logX, areLosses = false) {
  return data.sizes.flatMap((size, number) => {
    const runs = hidden.has(number) ? [] : data.runs.filter((run) => run.size === number);
    const shown = (run) => run.points.filter((p) => !logX || p[column] > 0);
    const curve = (run) => shown(run).map((p) => [p[column], value(p)]);
    const hasMean = runs.length && runs.every((run) => !run.diverged && shown(run).length), named = { colour: size.colour, name: size.name };
    const dots = areLosses ? runs.flatMap((run) => run.batches.map(([update, loss]) => [height_at(run.points.map((p) => [p[0], p[column]]), update), loss])) : [];
    if (!hasMean) return runs.map((run, n) => ({ ...named, seed: true, points: curve(run), end: n ? "" : size.mark }));
    return [{ ...named, ...meanOf(runs.map(shown), column, value, logX), dots: dots.filter(([x]) => x !== undefined), end: size.mark }];
  });
}

/* Returns the mean over runs after as many updates, where all of them are, with the band from the
   lowest to the highest. Seconds are a mean, too: runs of one size may take so different ones that
   there is no moment at which all of them train. */
function meanOf(runs, column, value, logX) {
  const first = Math.max(...runs.map((points) => points[0][0])), last = Math.min(...runs.map((points) => points.at(-1)[0]));
  const updates = [...new Set(runs.flatMap((points) => points.map((p) => p[0])))].filter((n) => n >= first && n <= last).sort((a, b) => a - b);
  const at = (points, of, n) => (points.length > 1 ? height_at(points.map((p) => [p[0], of(p)]), n) : of(points[0]));
  const mean = (values) => values.reduce((a, b) => a + b) / values.length;
  const found = updates.map((n) => {
    const xs = runs.map((points) => at(points, (p) => p[column], n)), ys = runs.map((points) => at(points, value, n));
    return [logX ? Math.exp(mean(xs.map(Math.log))) : mean(xs), mean(ys), Math.min(...ys), Math.max(...ys)];
  });
  return { points: found.map(([x, y]) => [x, y]), band: runs.length > 1 ? found.map(([x, , low, high]) => [x, low, high]) : [] };
}

/* Returns a button that explains a term where it stands: on a click, in focus, or under the mouse. */
function term(text, about) {
  const button = document.createElement("button");
  button.type = "button"; button.className = "term"; button.textContent = text; button.setAttribute("aria-describedby", "tip");
  const show = () => { const box = button.getBoundingClientRect(); showTip(box.left - 14, box.top, about); };
  for (const name of ["click", "focus", "pointerenter"]) button.addEventListener(name, show);
  for (const name of ["blur", "pointerleave"]) button.addEventListener(name, hideTip);
  button.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
  return button;
}

/* Returns a text in which each term that `known` lacks is explained where it stands first. */
function explained(text, known) {
  const words = data.terms.words, found = Object.keys(words).filter((word) => text.includes(word) && !known.has(word));
  if (!found.length) return [text];
  const word = found.reduce((a, b) => (text.indexOf(b) < text.indexOf(a) ? b : a)), at = text.indexOf(word);
  known.add(word);
  return [text.slice(0, at), term(word, words[word]), ...explained(text.slice(at + word.length), known)];
}

function drawProbes(shown) {
  const found = [];
  const add = (id, caption, series, options) => {
    if (series.length) found.push([id, caption, series, options]);
  };
  const edges = shown.map((a) => ({ edge: true, name: "edge of stability", points: a.sharpness.filter((p) => p[2] !== null).map((p) => [p[0], p[2]]) })).filter((s) => s.points.length > 1);
  add("sharpness", "Sharpness; dashed: the edge of stability, 2 / learning rate without momentum", [
    ...shown.filter((a) => a.sharpness.length).map((a) => ({ colour: data.sizes[a.size].colour, name: data.sizes[a.size].name, points: a.sharpness.map((p) => [p[0], p[1]]) })),
    ...edges], { label: "updates", logX: false, logY: false });
  const states = new Map();
  for (const run of shown) for (const [update, size, deviation] of run.alignment) {
    const key = `${run.size} ${run.seed} ${update}`;
    if (!states.has(key)) states.set(key, { colour: data.sizes[run.size].colour, name: `${data.sizes[run.size].name}, update ${update}`, points: [] });
    states.get(key).points.push([size, deviation]);
  }
  add("deviation", "Deviation of a batch’s gradient, relative to the full one", [...states.values()], { label: "samples in the batch", logX: true, logY: true });
  $("probes").hidden = !found.length;
  drawCharts($("probe-charts"), found);
}

const isLong = (size) => size.mark !== size.name;

function bold(text) {
  const made = document.createElement("b");
  made.textContent = text;
  return made;
}

/* Returns the name of a variant, after the letter that stands at its curves. */
function named(size) {
  return isLong(size) ? [bold(size.mark), " ", size.name] : [size.name];
}

function build() {
  const [verdict = "", numbers = ""] = data.lead, told = new Set();
  $("lead").append(...explained(verdict, told));
  for (const part of numbers.split(/; (?![^(]*\))/)) { /* not in parentheses */
    const line = document.createElement("li");
    line.append(...explained(part, told));
    $("numbers").append(line);
  }
  $("numbers").hidden = !numbers;
  $("about-diverged").hidden = !data.runs.some((run) => run.diverged);
  $("about-dots").hidden = !data.runs.some((run) => run.batches.length);
  data.sizes.forEach((size, number) => {
    const button = document.createElement("button"), mark = document.createElement("i");
    button.type = "button"; button.setAttribute("aria-pressed", "true"); mark.style.setProperty("--key", size.colour);
    button.append(mark, ...named(size));
    button.addEventListener("click", () => {
      hidden.has(number) ? hidden.delete(number) : hidden.add(number);
      button.setAttribute("aria-pressed", String(!hidden.has(number)));
      draw();
    });
    $("keys").append(button);
  });
  const head = document.createElement("tr");
  for (const heading of data.headings) { const cell = document.createElement("th"); cell.scope = "col"; cell.className = heading; cell.append(heading in data.terms.headings ? term(heading, data.terms.headings[heading]) : heading); head.append(cell); }
  $("table").append(head);
  data.rows.forEach((row, number) => {
    const line = document.createElement("tr");
    row.forEach((text, column) => {
      const cell = document.createElement("td");
      if (!column && isLong(data.sizes[number])) cell.append(bold(data.sizes[number].mark), " ");
      cell.append(text);
      cell.className = data.headings[column];
      line.append(cell);
    });
    line.style.setProperty("--key", data.sizes[number].colour);
    $("table").append(line);
  });
  const known = new Set();
  for (const finding of data.findings) {
    const item = document.createElement("li");
    if (finding.short === finding.text) item.append(...explained(finding.text, known));
    else {
      const details = document.createElement("details"), summary = document.createElement("summary"), all = document.createElement("p");
      summary.textContent = finding.short;
      all.append(...explained(finding.text, known));
      details.append(summary, all);
      item.append(details);
    }
    $("verdict").append(item);
  }
  for (const input of document.querySelectorAll("input[name=axis]")) input.addEventListener("change", () => { axis = input.value; draw(); });
  for (const input of document.querySelectorAll("input[name=scale]")) input.addEventListener("change", () => { scale = input.value; draw(); });
  $("copy").addEventListener("click", async () => {
    try { await navigator.clipboard.writeText($("command").textContent); }
    catch { getSelection().selectAllChildren($("command")); document.execCommand("copy"); }
    $("copy").textContent = "Copied";
  });
  const project = () => {
    const on = location.hash === LARGE;
    document.documentElement.classList.toggle("projector", on);
    $("projector").setAttribute("aria-pressed", String(on));
    dispatchEvent(new Event("redraw"));
  };
  $("projector").addEventListener("click", () => { location.hash = location.hash === LARGE ? "" : LARGE; });
  addEventListener("hashchange", project);
  project();
  let last = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== last) { last = innerWidth; dispatchEvent(new Event("redraw")); } });
  addEventListener("redraw", draw);
  addEventListener("redraw", () => { $("scrolls").hidden = $("table").scrollWidth <= $("table").parentElement.clientWidth; });
  dispatchEvent(new Event("redraw"));
}
build();
