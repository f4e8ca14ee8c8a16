/* A field to draw on: strokes by pointer, touch or keys, with undo. Uses picture.js.
   `penWidth()` is in hundredths of the field; `changed` is called in the frame after a change,
   when the field has been drawn. */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const PACE = 0.03; /* of the field, with each press of an arrow */

function drawingField(field, penWidth, changed) {
  const pen = field.getContext("2d");
  let strokes = [], past = []; /* lists are never changed once they are in `past` */
  let drawing = null; /* the pointer whose stroke is under way */
  let cursor = { x: 0.5, y: 0.3, down: false, shown: false };
  let frame = 0;

  function change(next) {
    past.push(strokes);
    strokes = next;
    later();
  }

  function undo() {
    if (past.length) strokes = past.pop();
    lift();
  }

  function clear() {
    if (strokes.length) change([]);
    lift();
  }

  function lift() {
    drawing = null;
    cursor = { ...cursor, down: false };
    later();
  }

  /* Appends a point to the stroke under way. */
  function extend(x, y, force = 1) {
    strokes.at(-1).push({ x, y, width: (force * penWidth()) / 100 });
    later();
  }

  function begin(x, y, force) {
    change([...strokes, []]);
    extend(x, y, force);
  }

  function later() {
    frame ||= requestAnimationFrame(() => { frame = 0; show(); });
  }

  function show() {
    const size = field.width, style = getComputedStyle(field);
    pen.clearRect(0, 0, size, size);
    paint(pen, strokes, size, style.color);
    if (cursor.shown) showCursor(size, style.getPropertyValue("--accent"));
    changed();
  }

  function showCursor(size, colour) {
    pen.beginPath();
    pen.arc(cursor.x * size, cursor.y * size, (Math.max(0.03, penWidth() / 150)) * size, 0, 2 * Math.PI);
    pen.strokeStyle = pen.fillStyle = colour;
    pen.lineWidth = 0.008 * size;
    pen.stroke();
    if (cursor.down) { pen.globalAlpha = 0.35; pen.fill(); pen.globalAlpha = 1; }
  }

  function place(event) {
    const box = field.getBoundingClientRect();
    const force = event.pointerType === "pen" && event.pressure > 0 ? 0.5 + event.pressure : 1;
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height, force];
  }

  field.addEventListener("pointerdown", (event) => {
    if (drawing !== null || event.button !== 0) return;
    drawing = event.pointerId;
    cursor = { ...cursor, down: false, shown: false };
    field.setPointerCapture(drawing);
    begin(...place(event));
  });
  field.addEventListener("pointermove", (event) => {
    if (event.pointerId !== drawing) return;
    const all = event.getCoalescedEvents?.() ?? [];
    for (const one of all.length ? all : [event]) extend(...place(one));
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"])
    field.addEventListener(name, (event) => { if (event.pointerId === drawing) drawing = null; });
  field.addEventListener("blur", () => { cursor = { ...cursor, down: false, shown: false }; later(); });
  field.addEventListener("focus", () => {
    cursor = { ...cursor, shown: field.matches(":focus-visible") && drawing === null };
    later();
  });
  field.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || drawing !== null) return;
    const way = ARROWS[event.key];
    if (!way && event.key !== " ") return;
    event.preventDefault();
    const inside = (at) => Math.min(Math.max(at, 0), 1);
    if (way) cursor = { ...cursor, shown: true, x: inside(cursor.x + PACE * way[0]), y: inside(cursor.y + PACE * way[1]) };
    else if (!event.repeat) cursor = { ...cursor, shown: true, down: !cursor.down };
    if (!way && cursor.down && !event.repeat) begin(cursor.x, cursor.y);
    else if (way && cursor.down) extend(cursor.x, cursor.y);
    later();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", later);
  new ResizeObserver(() => {
    field.width = field.height = Math.round(field.clientWidth * devicePixelRatio);
    show();
  }).observe(field);

  return {
    undo, clear, later, show,
    get strokes() { return strokes; },
    get canUndo() { return past.length > 0; },
    get isHintNeeded() { return !strokes.length && !cursor.shown; },
  };
}
