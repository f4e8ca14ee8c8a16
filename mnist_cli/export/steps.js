/* How a drawing becomes the input of the network, shown over that input: cut out, scaled, centred. */
const STEPS = [["cut out", 700], ["scaled to 20 × 20", 900], ["centred by its mass", 700]]; /* and milliseconds of each */
const AT_REST = "its input, 28 × 28";
const lessMotion = matchMedia("(prefers-reduced-motion: reduce)");
let stepFrame = 0;
document.getElementById("step").textContent = AT_REST;

/* Returns a number between two; of boxes, each of their numbers. */
function between(a, b, share) {
  if (typeof a === "number") return a + share * (b - a);
  return Object.fromEntries(Object.keys(a).map((key) => [key, between(a[key], b[key], share)]));
}

function showSteps({ from, to }) {
  const canvas = document.getElementById("steps"), context = canvas.getContext("2d");
  const large = Object.fromEntries(Object.entries(to).map(([key, value]) => [key, (value * PICTURE) / SIDE]));
  const middle = { ...large, left: (PICTURE - large.width) / 2, top: (PICTURE - large.height) / 2 };
  let number = 0, began = null;
  cancelAnimationFrame(stepFrame);
  const step = (now) => {
    began ??= now;
    if (now - began >= STEPS[number][1]) { number++; began = now; }
    if (number === STEPS.length) return stopSteps();
    canvas.hidden = false;
    const share = (now - began) / STEPS[number][1];
    const eased = lessMotion.matches ? 1 : share * share * (3 - 2 * share);
    drawStep(context, number, eased, from, [from, between(from, middle, eased), between(middle, large, eased)][number]);
    document.getElementById("step").textContent = STEPS[number][0];
    stepFrame = requestAnimationFrame(step);
  };
  stepFrame = requestAnimationFrame(step);
}

/* Draws the digit, which is `from` in the ink, in the box `at`. */
function drawStep(context, number, share, from, at) {
  const colour = getComputedStyle(document.body).getPropertyValue("--mark");
  context.fillStyle = "#000";
  context.fillRect(0, 0, PICTURE, PICTURE);
  if (number === 0) context.drawImage(inkwell.canvas, 0, 0);
  else context.drawImage(inkwell.canvas, from.left, from.top, from.width, from.height, at.left, at.top, at.width, at.height);
  context.strokeStyle = colour;
  context.lineWidth = 3;
  context.globalAlpha = number === 0 ? share : 1;
  context.strokeRect(at.left, at.top, at.width, at.height);
  if (number === 2) { /* the middle, where the centre of mass comes to lie */
    context.globalAlpha = share;
    context.beginPath();
    for (const [x, y] of [[1, 0], [0, 1]]) {
      context.moveTo(PICTURE / 2 - 14 * x, PICTURE / 2 - 14 * y);
      context.lineTo(PICTURE / 2 + 14 * x, PICTURE / 2 + 14 * y);
    }
    context.stroke();
  }
  context.globalAlpha = 1;
}

function stopSteps() {
  cancelAnimationFrame(stepFrame);
  if (document.getElementById("steps").hidden) return;
  document.getElementById("steps").hidden = true;
  document.getElementById("step").textContent = AT_REST;
}
