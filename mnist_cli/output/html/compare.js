const AXES = { updates: [0, "updates"], samples: [1, "samples seen"], seconds: [2, "seconds of training"] };
const hidden = new Set();
let axis = "updates", scale = "log";

function draw() {
  const [column, label] = AXES[axis], log = scale === "log";
  const shown = data.runs.filter((run) => !hidden.has(run.size));
  const series = (value) => shown.map((run) => ({
    colour: data.sizes[run.size].colour, name: data.sizes[run.size].name,
    points: run.points.filter((p) => p[3] <= data.highestLoss).map((p) => [p[column], p[value]]),
  }));
  chart($("loss"), series(3), { label, logX: log, logY: log });
  chart($("accuracy"), series(4), { label, logX: log, logY: false, percent: true, form: (v) => +(100 * v).toPrecision(4) + " %" });
  const finding = data.findings.find((f) => f.about === "equal " + axis || f.about === axis);
  $("finding").textContent = finding ? finding.text : "";
  drawProbes(shown);
}

function drawProbes(shown) {
  const charts = $("probe-charts"), found = [];
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
  charts.replaceChildren();
  for (const [id, caption, series, options] of found) {
    const figure = document.createElement("figure"), text = document.createElement("figcaption"), place = document.createElement("div");
    text.textContent = caption; place.id = id; figure.append(text, place); charts.append(figure);
    chart(place, series, options);
  }
}

function build() {
  $("lead").textContent = data.findings.length ? data.findings[0].text : "";
  data.sizes.forEach((size, number) => {
    const button = document.createElement("button"), mark = document.createElement("i");
    button.type = "button"; button.setAttribute("aria-pressed", "true"); mark.style.setProperty("--key", size.colour);
    button.append(mark, size.name);
    button.addEventListener("click", () => {
      hidden.has(number) ? hidden.delete(number) : hidden.add(number);
      button.setAttribute("aria-pressed", String(!hidden.has(number)));
      draw();
    });
    $("keys").append(button);
  });
  const head = document.createElement("tr");
  for (const heading of data.headings) { const cell = document.createElement("th"); cell.scope = "col"; cell.textContent = heading; head.append(cell); }
  $("table").append(head);
  data.rows.forEach((row, number) => {
    const line = document.createElement("tr");
    for (const text of row) { const cell = document.createElement("td"); cell.textContent = text; line.append(cell); }
    line.style.setProperty("--key", data.sizes[number].colour);
    $("table").append(line);
  });
  for (const finding of data.findings) { const item = document.createElement("li"); item.textContent = finding.text; $("verdict").append(item); }
  for (const input of document.querySelectorAll("input[name=axis]")) input.addEventListener("change", () => { axis = input.value; draw(); });
  for (const input of document.querySelectorAll("input[name=scale]")) input.addEventListener("change", () => { scale = input.value; draw(); });
  $("copy").addEventListener("click", async () => {
    try { await navigator.clipboard.writeText($("command").textContent); }
    catch { getSelection().selectAllChildren($("command")); document.execCommand("copy"); }
    $("copy").textContent = "Copied";
  });
  let last = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== last) { last = innerWidth; draw(); } });
  draw();
}
build();
