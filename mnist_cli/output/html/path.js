/* The paths of the weights over contours of the loss, in the plane that was measured. */
const LEVELS = 14;

/* Returns the segments of a contour of a grid, [[x, y], [x, y]] in its columns and rows: marching squares. */
function contour(losses, level) {
  const segments = [];
  for (let row = 0; row + 1 < losses.length; row++)
    for (let column = 0; column + 1 < losses[row].length; column++) {
      const corners = [[column, row], [column + 1, row], [column + 1, row + 1], [column, row + 1]];
      const values = corners.map(([x, y]) => losses[y][x] - level), crossed = [];
      corners.forEach((corner, n) => {
        const next = (n + 1) % 4;
        if (values[n] < 0 === values[next] < 0) return;
        const share = values[n] / (values[n] - values[next]);
        crossed.push(corner.map((at, axis) => at + share * (corners[next][axis] - at)));
      });
      for (let n = 0; n + 1 < crossed.length; n += 2) segments.push([crossed[n], crossed[n + 1]]);
    }
  return segments;
}

function drawPlane() {
  const { across, up, gridAcross: xs, gridUp: ys, losses, updates, sizes } = data.plane, place = $("plane");
  const wide = place.clientWidth || 560, most = place.closest(".projector") ? 1100 : 900;
  const width = Math.max(300, Math.min(wide, most)), ratio = (ys.at(-1) - ys[0]) / (xs.at(-1) - xs[0]);
  const height = Math.round(width * ratio);
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  svg.append(element("title", {}, `Paths of the weights over the loss, for ${sizes.map((n) => data.sizes[n].name).join(", ")}`));
  const X = (x) => ((x - xs[0]) / (xs.at(-1) - xs[0])) * width, Y = (y) => height * (1 - (y - ys[0]) / (ys.at(-1) - ys[0]));
  const logs = losses.map((row) => row.map((loss) => Math.log(Math.max(loss, 1e-9)))), flat = logs.flat().sort((a, b) => a - b);
  const low = flat[0], high = flat[Math.floor(0.97 * flat.length)], step = (high - low) / (LEVELS + 1);
  for (let n = 1; n <= LEVELS; n++) {
    const lines = contour(logs, low + n * step).map((ends) => "M" + ends.map(([x, y]) => `${((x * width) / (xs.length - 1)).toFixed(1)} ${(height * (1 - y / (ys.length - 1))).toFixed(1)}`).join("L"));
    svg.append(element("path", { class: "contour", d: lines.join(""), opacity: 0.35 + (0.5 * n) / LEVELS }));
  }
  const labelled = [];
  for (let n = 1; n <= LEVELS; n += 3) { /* its loss, where a contour crosses the middle of the upper half */
    const at = contour(logs, low + n * step).map(([end]) => end).filter(([x, y]) => x > 0 && x < xs.length - 1.5 && y > 0.55 * ys.length);
    if (!at.length) continue;
    const [x, y] = at[Math.floor(at.length / 2)], spot = [(x * width) / (xs.length - 1), height * (1 - y / (ys.length - 1))];
    if (labelled.some((other) => Math.hypot(other[0] - spot[0], other[1] - spot[1]) < 46)) continue;
    labelled.push(spot);
    svg.append(element("text", { class: "level", x: spot[0], y: spot[1] + 4, "text-anchor": "middle" }, +Math.exp(low + n * step).toPrecision(2)));
  }
  const ends = [];
  sizes.forEach((number, n) => {
    if (hidden.has(number)) return;
    const size = data.sizes[number], points = across[n].map((x, k) => `${X(x).toFixed(1)} ${Y(up[n][k]).toFixed(1)}`);
    svg.append(element("path", { class: "walk", d: "M" + points.join("L"), stroke: size.colour }));
    svg.append(element("path", { class: "stops", d: points.map((point) => `M${point}h0`).join(""), stroke: size.colour }));
    const end = { x: Math.min(X(across[n].at(-1)) + 9, width - 8 * size.mark.length), y: Math.min(Math.max(Y(up[n].at(-1)) + 5, 14), height - 6) };
    while (ends.some((other) => Math.abs(other.x - end.x) < 50 && Math.abs(other.y - end.y) < 15)) end.y += 5;
    ends.push(end);
    svg.append(element("circle", { cx: X(across[n].at(-1)), cy: Y(up[n].at(-1)), r: 5.5, fill: size.colour }));
    svg.append(element("text", { class: "end", ...end, style: `fill: ${size.colour}` }, size.mark));
  });
  const start = [X(across[0][0]), Y(up[0][0])];
  svg.append(element("circle", { class: "start", cx: start[0], cy: start[1], r: 5 }));
  svg.append(element("text", { class: "end", x: start[0] + 9, y: start[1] - 7 }, "start"));
  place.replaceChildren(svg);
}

$("paths").hidden = !data.plane;
if (data.plane) {
  addEventListener("redraw", drawPlane);
  $("keys").addEventListener("click", drawPlane);
  drawPlane();
}
