/* The seven steps. A step sets the page, runs `until` a limit, and reads its answer from the runs of
   the page: `numbers` returns what its sentence needs. All is measured at every update, or,
   where `measure` says so, now and then and at the limits that `first` gives on the way.
   A run has `options`, its last `state`, and `full`: points [update, samples, seconds, loss, accuracy,
   cosine]. */
const UPDATE = 0, SAMPLES_SEEN = 1, SECONDS = 2, FULL_LOSS = 3, ACCURACY = 4;
const ALL = data.samples.train;
const run = (network, batchSize, lr, shuffle = true) => ({ network, batchSize: Math.min(batchSize, ALL), lr, shuffle });

const TOUR = [
  {
    name: "update", runs: [run("linear", 16, 0.02), run("linear", ALL, 0.02)], axis: "updates", speed: 1, until: { updates: 1 },
    numbers: ([a, b]) => ({
      aImages: whole(a.options.batchSize), bImages: whole(b.options.batchSize), start: loss3(a.full[0]), a: loss3(at(a, UPDATE, 1)), b: loss3(at(b, UPDATE, 1)),
    }),
  },
  {
    name: "steady", runs: [run("linear", 16, 0.05), run("linear", ALL, 0.05)], axis: "updates", speed: 30, until: { updates: 100 },
    numbers: ([a, b], { updates }) => ({ updates: whole(updates), aRose: whole(rises(a, updates)), bRose: whole(rises(b, updates)) }),
  },
  {
    name: "more", runs: [run("linear", 64, 0.05), run("linear", ALL, 0.05)], axis: "samples", speed: 30, until: { samples: 5 * ALL },
    numbers: ([a, b], { samples }) => ({
      epochs: whole(samples / ALL), samples: whole(samples), aSize: whole(a.options.batchSize),
      aUpdates: whole(at(a, SAMPLES_SEEN, samples)[UPDATE]), bUpdates: whole(at(b, SAMPLES_SEEN, samples)[UPDATE]),
      aAccuracy: percent1(at(a, SAMPLES_SEEN, samples)), bAccuracy: percent1(at(b, SAMPLES_SEEN, samples)),
    }),
  },
  {
    name: "rate", runs: [run("hidden", 1, 0.2), run("hidden", 64, 0.2), run("hidden", 1, 0.005)], axis: "samples", speed: 0, until: { samples: ALL }, measure: "some",
    numbers: ([a, b, c], { samples }) => ({
      rate: String(a.options.lr), cRate: String(c.options.lr),
      aAccuracy: percent1(at(a, SAMPLES_SEEN, samples)), bAccuracy: percent1(at(b, SAMPLES_SEEN, samples)), cAccuracy: percent1(at(c, SAMPLES_SEEN, samples)),
    }),
  },
  {
    name: "axes", runs: [run("linear", 16, 0.05), run("linear", ALL, 0.05)], axis: "samples", speed: 0, until: { samples: 10 * ALL }, measure: "some",
    first: [() => ({ updates: 10 }), ([, b]) => ({ seconds: b.full.at(-1)[SECONDS] })],
    numbers: ([a, b]) => {
      /* The farthest that A has been measured on each axis and B has been, too. */
      const [updates, samples, seconds] = [UPDATE, SAMPLES_SEEN, SECONDS].map((column) => [column, at(a, column, b.full.at(-1)[column] + (column === SECONDS ? 0.01 : 0))]);
      const inA = ([, point]) => loss3(point), inB = ([column, point]) => loss3(at(b, column, point[column]));
      return {
        updates: whole(updates[1][UPDATE]), samples: whole(samples[1][SAMPLES_SEEN]), seconds: String(+seconds[1][SECONDS].toPrecision(2)),
        aUpdates: inA(updates), bUpdates: inB(updates), aSamples: inA(samples), bSamples: inB(samples), aSeconds: inA(seconds), bSeconds: inB(seconds),
      };
    },
  },
  {
    name: "sorted", runs: [run("linear", 64, 0.05, false), run("linear", 64, 0.05)], axis: "updates", sorted: true, speed: 30, until: { samples: 3 * ALL },
    numbers: ([a, b], { samples }) => ({
      epochs: whole(samples / ALL), a: loss3(at(a, SAMPLES_SEEN, samples)), b: loss3(at(b, SAMPLES_SEEN, samples)),
      aAccuracy: percent1(at(a, SAMPLES_SEEN, samples)), bAccuracy: percent1(at(b, SAMPLES_SEEN, samples)),
    }),
  },
  {
    name: "large", runs: [run("linear", 4, 0.02), run("linear", 256, 0.1), run("linear", ALL, 0.1)], axis: "updates", speed: 0, until: { updates: 400 }, target: 0.5,
    isDone: (runs, step) => runs.every((one) => reached(one, step.target) !== null),
    numbers: ([a, b, c], limit, step) => {
      const needed = (one) => { const update = reached(one, step.target); return update === null ? text("never", { count: whole(one.full.at(-1)[UPDATE]) }) : whole(update); };
      return { aSize: whole(a.options.batchSize), bSize: whole(b.options.batchSize), target: String(step.target), a: needed(a), b: needed(b), c: needed(c) };
    },
  },
];

/* The last measurement of a run at or before a place on an axis. */
function at({ full }, column, place) {
  return full.findLast((point) => point[column] <= place + 1e-9) ?? full[0];
}

/* Counts the updates after which the loss on all images was higher than before. */
function rises({ full }, updates) {
  return full.filter((point, n) => n > 0 && point[UPDATE] <= updates && point[FULL_LOSS] > full[n - 1][FULL_LOSS]).length;
}

/* The first measured update at which the loss on all images is at most the target, or null. */
function reached({ full }, target) {
  return full.find((point) => point[FULL_LOSS] <= target)?.[UPDATE] ?? null;
}

const whole = (number) => Math.round(number).toLocaleString("en");
const loss3 = (point) => short(point[FULL_LOSS]);
const percentOf = (share) => (100 * share).toFixed(1) + "\u00a0%";
const percent1 = (point) => percentOf(point[ACCURACY]);

/* Whether the runs have come as far as a step goes, and every limit has been measured. */
function isStepDone(step, runs) {
  if (runs.length < step.runs.length || runs.some(({ full }) => !full.length)) return false;
  if (step.isDone?.(runs, step)) return true;
  return isAt(step.until, runs);
}

/* Whether every run has been measured at a limit: { updates: n }, { samples: n } or { seconds: n }. */
function isAt(limits, runs) {
  const [[quantity, limit]] = Object.entries(limits), column = { updates: UPDATE, samples: SAMPLES_SEEN, seconds: SECONDS }[quantity];
  return runs.every(({ full, state }) => state?.diverged || (full.length > 0 && full.at(-1)[column] >= limit));
}

function stepNumbers(step, runs) {
  return step.numbers(runs, step.until, step);
}

/* The numbers of measured.json as they are shown: shares in percent, lists in words. */
function measuredNumbers(found) {
  const numbers = {};
  for (const [key, value] of Object.entries(found)) {
    if (typeof value !== "number") continue;
    const isShare = /accuracy|^target$/.test(key);
    numbers[key] = isShare ? percentOf(value).replace(".0\u00a0", "\u00a0") : Number.isInteger(value) ? whole(value) : String(+value.toPrecision(3));
  }
  const items = found.sizes?.map((size, n) => text("step.large.item", { size: whole(size), updates: whole(found.updates[n]) }));
  if (items) numbers.list = items.filter((_, n) => n % 2 === 0 || n === items.length - 1).join(text("between")); /* every other is enough */
  return numbers;
}

/* ---- The panel that asks and answers ---- */

/* Whether the runs are set as the step sets them. */
function isStepSet() {
  const step = TOUR[settings.step - 1];
  return Boolean(step) && JSON.stringify([step.runs, Boolean(step.sorted)]) === JSON.stringify([settings.runs, settings.sorted]);
}

function settingsOf({ axis, speed, sorted = false, runs: all }) {
  return { axis, speed, sorted, runs: structuredClone(all) };
}

function goTo(number) {
  const step = TOUR[number - 1];
  status.playing = false; /* a step begins at the start */
  change(step ? { step: number, ...settingsOf(step) } : { step: 0 }, "push", Boolean(step));
  if (step) $("tour-title").focus({ preventScroll: true });
}

function showStep() {
  const step = TOUR[settings.step - 1];
  $("tour").hidden = !step;
  $("tour-open").textContent = text(step ? "tour.close" : "tour.open");
  $("tour-open").setAttribute("aria-expanded", String(Boolean(step)));
  if (!step) return;
  const key = (name) => `step.${step.name}.${name}`;
  $("tour-title").textContent = `${settings.step}. ${text(key("title"))}`;
  $("question").textContent = text(key("question"), questionNumbers(step));
  $("why").textContent = text(key("why"), questionNumbers(step));
  $("tour-previous").disabled = settings.step === 1;
  $("tour-next").textContent = text(settings.step === TOUR.length ? "tour.end" : "tour.next");
  $("changed").hidden = isStepSet();
  [...$("steps").children].forEach((dot, n) => {
    dot.setAttribute("aria-label", `${text("tour.step", { step: n + 1, count: TOUR.length })}: ${text(`step.${TOUR[n].name}.title`)}`);
    dot.title = text(`step.${TOUR[n].name}.title`);
    if (n === settings.step - 1) dot.setAttribute("aria-current", "step"); else dot.removeAttribute("aria-current");
  });
  const found = data.measured.steps[step.name];
  $("measured").hidden = !found;
  $("commands").replaceChildren(...(found?.commands ?? []).map(commandOf));
  if (!found) return;
  const words = text(key("measured"), measuredNumbers(found)), isWhole = !words.includes("–");
  $("measured").querySelector("h3").textContent = text(isWhole ? "tour.measured" : "tour.unmeasured");
  $("measured").querySelector("p").textContent = isWhole ? words : "";
}

/* The numbers of a question are those of the step's settings. */
function questionNumbers(step) {
  const [a, b, c] = step.runs, { updates = 0, samples = 0 } = step.until;
  return { updates: whole(updates), epochs: whole(samples / ALL), rate: a.lr, cRate: c?.lr, aSize: whole(a.batchSize), bSize: whole(b.batchSize), target: step.target };
}

function commandOf(command) {
  const row = document.createElement("div"), code = document.createElement("pre"), button = document.createElement("button");
  row.className = "command";
  command.split(/ (?=-)/).forEach((option, n) => { /* lines break between options only */
    const span = document.createElement("span");
    span.textContent = option;
    code.append(n ? " " : "", span);
  });
  button.type = "button";
  button.textContent = text("tour.copy");
  button.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(command); }
    catch { getSelection().selectAllChildren(code); document.execCommand("copy"); }
    button.textContent = text("tour.copied");
  });
  row.append(code, button);
  return row;
}

function showAnswer() {
  const step = TOUR[settings.step - 1];
  if (!step) return;
  const done = isStepSet() && !isStale && isStepDone(step, runs), shown = isAnswerAsked && done;
  $("answer").hidden = !shown;
  $("tour-show").setAttribute("aria-expanded", String(shown));
  $("tour-show").hidden = shown;
  $("tour-show").disabled = isAnswerAsked && !done && status.playing;
  $("tour-show").classList.toggle("main", done && !shown);
  $("tour-run").hidden = done || !isStepSet();
  $("tour-run").disabled = status.playing;
  $("tour-next").classList.toggle("main", shown);
  if (shown) $("found").textContent = text(`step.${step.name}.answer`, stepNumbers(step, runs));
}

/* Shows the answer; if the runs are not there yet, lets them run to it first. */
function askAnswer() {
  const step = TOUR[settings.step - 1];
  isAnswerAsked = true;
  if (!isStepSet()) restore();
  if (!isStepDone(step, runs)) play(0);
  showAnswer();
}

function restore() {
  const step = TOUR[settings.step - 1];
  change(settingsOf(step));
}
