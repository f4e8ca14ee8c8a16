/* The updates and seconds to the target against the batch size, and the trials of learning rates. */

/* Fills `place` with captioned charts: [id, caption, series, options] each. */
function drawCharts(place, found) {
  place.replaceChildren(...found.map(([id, caption]) => {
    const figure = document.createElement("figure"), text = document.createElement("figcaption"), inside = document.createElement("div");
    text.textContent = caption; inside.id = id; figure.append(text, inside);
    return figure;
  }));
  for (const [id, , series, options] of found) chart($(id), series, options); /* all are there: each has its width */
}

function drawTarget() {
  const { settings, sizes } = data.target;
  const shared = { label: "batch size", logX: true, logY: true, at: sizes };
  const mean = (values) => Math.exp(values.reduce((sum, v) => sum + Math.log(v), 0) / values.length);
  const series = (what) => settings.map(({ name, colour, fit, ...costs }) => {
    const marks = costs[what].flatMap(([size, values]) => values.map((value) => [size, value]));
    const means = costs[what].map(([size, values]) => [size, mean(values)]);
    const fitted = what === "updates" && fit, points = fitted ? along(sizes).map((b) => [b, fit.updates * (1 + fit.size / b)]) : means;
    return { name, colour, marks, points, joined: !fitted };
  });
  const fits = settings.filter((setting) => setting.fit);
  drawCharts($("target-charts"), [
    ["target-updates", "Updates to the target", series("updates"), {
      ...shared,
      lines: fits.map(({ colour, fit }) => ({ x: fit.size, colour })),
      spans: fits.filter(({ fit }) => fit.bySeed.length).map(({ colour, fit }) => ({ from: Math.min(...fit.bySeed), to: Math.max(...fit.bySeed), colour })),
    }],
    ["target-seconds", "Seconds to the target", series("seconds"), shared],
  ]);
}

/* Returns places from the lowest to the highest of some, evenly spread on a logarithmic scale. */
function along(values) {
  const low = Math.min(...values), high = Math.max(...values);
  return Array.from({ length: 101 }, (_, n) => low * (high / low) ** (n / 100));
}

function drawRates() {
  const { cost, unit, trials, most } = data.rates;
  const series = trials.filter(({ size }) => !hidden.has(size)).map(({ size, points, others, failed, chosen, flat }) => ({
    ...data.sizes[size], end: data.sizes[size].mark, points, marks: others, failed,
    wide: flat ? points.filter(([rate]) => rate >= flat[0] && rate <= flat[1]) : [],
    ring: points.find(([rate]) => rate === chosen),
  }));
  drawCharts($("rate-charts"), [["trials", cost, series, { label: "learning rate", logX: true, logY: true, unit, most: most ?? Infinity }]]);
}

function buildTarget() {
  for (const { colour, about } of data.target.settings) {
    const line = document.createElement("li"), mark = document.createElement("i");
    line.style.setProperty("--key", colour);
    line.append(mark, about);
    $("target-fits").append(line);
  }
  addEventListener("redraw", drawTarget);
  drawTarget();
}

$("target").hidden = !data.target;
if (data.target) buildTarget();
$("rates").hidden = !data.rates;
if (data.rates) {
  addEventListener("redraw", drawRates);
  $("keys").addEventListener("click", drawRates);
  drawRates();
}
