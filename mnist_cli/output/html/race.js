/* The runs in the seconds that their updates took: their accuracy at a moment, which plays or is chosen. */
const raceEnd = Math.max(...data.runs.map((run) => run.points.at(-1)?.[2] ?? 0));
const SHOWN = 15; /* seconds that the race takes on the screen, about */
const pace = 4 ** Math.round(Math.log2(raceEnd / SHOWN) / 2);
let moment = raceEnd, speed = pace, playing = 0, reveal = () => {};

const lanes = data.sizes.map((size, number) => {
  const line = document.createElement("li"), name = document.createElement("span"), bar = document.createElement("i"), share = document.createElement("b"), detail = document.createElement("small");
  name.append(...named(size));
  line.classList.toggle("long", isLong(size));
  line.style.setProperty("--key", size.colour);
  line.append(name, bar, share, detail);
  $("lanes").append(line);
  return { bar, share, detail, runs: data.runs.filter((run) => run.size === number && run.points.length) };
});

/* Returns a value of a run at a moment: at its end, the last. */
function valueAt(run, column, seconds) {
  const last = run.points.at(-1);
  return seconds >= last[2] ? last[column] : height_at(run.points.map((p) => [p[2], p[column]]), seconds) ?? run.points[0][column];
}

function showMoment() {
  for (const { bar, share, detail, runs } of lanes) {
    if (!runs.length) continue;
    const mean = (column) => runs.reduce((sum, run) => sum + valueAt(run, column, moment), 0) / runs.length;
    const done = runs.every((run) => moment >= run.points.at(-1)[2]);
    const diverged = runs.filter((run) => run.diverged).length;
    bar.style.setProperty("--share", mean(4));
    share.textContent = (100 * mean(4)).toFixed(1) + " %";
    detail.textContent = `${Math.round(mean(0)).toLocaleString("en")} updates` + (done ? `, done after ${seconds(mean(2))}${diverged ? `, ${diverged} of ${runs.length} diverged` : ""}` : "");
  }
  const text = seconds(moment);
  $("time").textContent = text;
  $("clock").value = Math.round((1000 * moment) / raceEnd);
  $("clock").setAttribute("aria-valuetext", text);
  reveal(moment);
}

const seconds = (value) => (raceEnd < 10 ? value.toFixed(2) : value.toFixed(1)) + " s";

function drawRace() {
  const shown = data.runs.filter((run) => !hidden.has(run.size));
  const series = shown.map((run) => ({ colour: data.sizes[run.size].colour, name: data.sizes[run.size].name, points: run.points.map((p) => [p[2], p[4]]) }));
  reveal = chart($("race-chart"), series, { label: "seconds of training", logX: false, logY: false, percent: true, form: percents }) ?? (() => {});
  showMoment();
}

function pause() {
  cancelAnimationFrame(playing);
  playing = 0;
  $("play").textContent = "Play";
}

function play() {
  if (moment >= raceEnd) moment = 0;
  $("play").textContent = "Pause";
  let before = null;
  const step = (now) => {
    moment = Math.min(raceEnd, moment + (speed * (now - (before ?? now))) / 1000);
    before = now;
    showMoment();
    if (moment < raceEnd) playing = requestAnimationFrame(step);
    else pause();
  };
  playing = requestAnimationFrame(step);
}

function buildRace() {
  $("race").hidden = !(raceEnd > 0);
  if ($("race").hidden) return;
  for (const each of [...new Set([1, pace])].sort((a, b) => a - b)) {
    const label = document.createElement("label"), input = document.createElement("input"), text = document.createElement("span");
    input.type = "radio"; input.name = "speed"; input.checked = each === speed;
    input.addEventListener("change", () => { speed = each; });
    text.textContent = each === 1 ? "real time" : each > 1 ? `${each} × faster` : `${1 / each} × slower`;
    label.append(input, text);
    $("speeds").append(label);
  }
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const settle = () => { $("play").hidden = $("speed").hidden = still.matches; if (still.matches) pause(); };
  still.addEventListener("change", settle);
  settle();
  $("play").addEventListener("click", () => (playing ? pause() : play()));
  $("clock").addEventListener("input", () => { pause(); moment = ($("clock").value / 1000) * raceEnd; showMoment(); });
  addEventListener("redraw", drawRace);
  $("keys").addEventListener("click", drawRace);
  drawRace();
}
buildRace();
