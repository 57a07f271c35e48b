// Where the picture is expected to go, and where it went. Displacements come in half shorter sides; +x right, +y down.

const ARROWS = 16, APART = 25; // at most along the longer side; CSS pixels between two at least
const RATE = 8; // frames per second
const NICE = [1, 2, 5].flatMap((d) => Array.from({ length: 7 }, (_, e) => d * 10 ** (e - 3))).sort((a, b) => a - b);

// Direction as hue, in OKLab, so that all directions are equally light but for a tilt that tells left from right without colour; see `flow_colours`.
function directionColour(x, y) {
  const length = Math.hypot(x, y) || 1, [L, a, b] = [0.72 + (0.07 * x) / length, (0.11 * x) / length, (0.11 * y) / length];
  const [l, m, s] = [L + 0.3963377774 * a + 0.2158037573 * b, L - 0.1055613458 * a - 0.0638541728 * b, L - 0.0894841775 * a - 1.291485548 * b].map((v) => v ** 3);
  const linear = [4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s, -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s, -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s];
  const out = linear.map((v) => Math.round(255 * clamp(v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055, 0, 1)));
  return `rgb(${out.join(" ")})`;
}

function arrow(context, x, y, u, v, colour) {
  const length = Math.hypot(u, v);
  if (length < 1.5) {
    context.fillStyle = "rgb(255 255 255 / 0.75)";
    context.fillRect(x - 0.75, y - 0.75, 1.5, 1.5);
    return;
  }
  const head = length < 5 ? 0 : Math.min(7, 0.35 * length + 1.5), [c, s] = [u / length, v / length], [ex, ey] = [x + u, y + v];
  for (const [style, width] of [["rgb(0 0 0 / 0.75)", head ? 3.8 : 3], [colour, head ? 1.8 : 1.5]]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(ex, ey);
    if (head) {
      context.moveTo(ex - head * (c * 0.86 - s * 0.5), ey - head * (s * 0.86 + c * 0.5));
      context.lineTo(ex, ey);
      context.lineTo(ex - head * (c * 0.86 + s * 0.5), ey - head * (s * 0.86 - c * 0.5));
    }
    context.stroke();
  }
}

function fieldOf(packed, values) {
  if (!packed) return null;
  const bytes = bytesOf(values || packed.values);
  return { values: new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength), top: packed.top, shape: packed.shape };
}

// The longest displacements of the last frame, but for a few.
function longOf(field) {
  if (!field) return 0;
  const [T, , h, w] = field.shape, n = h * w, at = (T - 1) * 2 * n, long = [];
  for (let i = 0; i < n; i++) long.push(Math.hypot(field.values[at + i], field.values[at + n + i]));
  long.sort((a, b) => a - b);
  return (long[Math.floor(0.98 * (n - 1))] * field.top) / 127;
}

function drawWheel(canvas) {
  const side = 64, context = fitCanvas(canvas, side, side), n = 48;
  context.clearRect(0, 0, side, side);
  for (let k = 0; k < n; k++) {
    const [a, b] = [((k - 0.55) / n) * 2 * Math.PI, ((k + 0.55) / n) * 2 * Math.PI], middle = (a + b) / 2;
    context.fillStyle = directionColour(Math.cos(middle), Math.sin(middle));
    context.beginPath();
    context.arc(32, 32, 30, a, b);
    context.arc(32, 32, 16, b, a, true);
    context.fill();
  }
}

function render({ model, el }) {
  let run = null, frame = null, step = 0, playing = false, fields = new Map(), observed = null, visible = null, problem = "";
  const boards = [["expected", easel("expected motion")], ["observed", easel("observed motion")]].map(([name, board]) => {
    const title = element("h4", {}, name);
    return { name, board, title, node: element("div", { class: "i2v-side" }, title, board.node) };
  });
  const steps = picker("Step", (value) => { step = +value; draw(); });
  const play = iconButton("play", "Play", () => setPlaying(!playing));
  const slider = element("input", { type: "range", min: 0, max: 0, step: 1, value: 0, "aria-label": "Frame", oninput: () => { setPlaying(false); frame = +slider.value; draw(); } });
  const count = element("span", { class: "i2v-count" });
  const wheel = element("canvas", { role: "img", "aria-label": "colour of each direction" });
  const ruler = shape("svg", { width: 130, height: 22, "aria-hidden": "true" }), rulerText = element("span");
  const caption = element("p", { class: "i2v-caption" });
  const root = element("div", { class: "i2v i2v-inspector i2v-motion", role: "group", "aria-label": "Motion" },
    element("div", { class: "i2v-tools" }, steps.node, play, slider, count),
    element("div", { class: "i2v-pair" }, ...boards.map((b) => b.node)),
    element("div", { class: "i2v-key" }, element("figure", {}, wheel, element("figcaption", {}, "direction")),
      element("div", {}, element("div", { class: "i2v-ruler" }, ruler, rulerText), caption)));

  const total = () => (fields.values().next().value || observed)?.shape[0] || 0;
  const newest = () => Math.max(...fields.keys(), 0);

  function paint({ board, name, title }, field, text, factor, grey) {
    title.textContent = text;
    const { clientWidth: width, clientHeight: height } = board.sheet;
    board.canvas.setAttribute("aria-label", field ? `${text}: arrows over the picture, frame ${frame + 1} of ${total()}` : `${name} motion: nothing yet`);
    if (!width || !height) return; // out of sight, or the page is changing its theme: what was drawn stays
    const context = fitCanvas(board.canvas, width, height);
    context.clearRect(0, 0, width, height);
    if (!field) return;
    const [, , h, w] = field.shape, n = h * w, at = Math.min(frame, field.shape[0] - 1) * 2 * n, unit = (Math.min(width, height) / 2) * (field.top / 127) * factor;
    const every = Math.max(1, Math.round(Math.max(h, w) / Math.min(ARROWS, Math.max(width, height) / APART))), first = Math.floor(every / 2);
    for (let r = first; r < h; r += every) for (let c = first; c < w; c += every) {
      const i = r * w + c, [u, v] = [field.values[at + i], field.values[at + n + i]];
      const colour = grey && grey[Math.min(frame, field.shape[0] - 1) * n + i] === 0 ? "#a8a8a8" : directionColour(u, v);
      arrow(context, ((c + 0.5) / w) * width, ((r + 0.5) / h) * height, u * unit, v * unit, colour);
    }
  }

  function draw() {
    const data = model.get("data"), there = fields.size > 0 || Boolean(observed), shown = step || newest();
    const expected = fields.get(shown);
    if (step && !expected) questions.ask(step, { run, step });
    if (playing && total() < 2) setPlaying(false);
    frame = total() ? clamp(frame ?? total() - 1, 0, total() - 1) : null; // the last one shows the whole way
    slider.max = Math.max(0, total() - 1);
    slider.value = frame ?? 0;
    slider.disabled = play.disabled = total() < 2;
    slider.setAttribute("aria-valuetext", total() ? `frame ${frame + 1} of ${total()}` : "no frames yet");
    count.textContent = total() ? `frame ${frame + 1} / ${total()}` : "frame \u2013";
    steps.fill([[0, "newest"], ...(data.steps || []).map((s) => [s, `${s} of ${data.of}`])], step);
    boards.forEach(({ board }, k) => {
      board.picture(model.get("picture"));
      board.image.classList.add("i2v-dim");
      if (data.size) board.ratio(data.size[1] / data.size[0]);
      board.say(!there ? (k ? "Where it went, measured in the finished frames." : "Where the model wants the picture to go. Press Generate.") : k && !observed ? "Measured when the clip is there." : "");
    });
    // One length means one distance in both pictures, and from the first frame to the last.
    const long = Math.max(longOf(fields.get(newest())), longOf(observed)), shape_ = (expected || observed)?.shape;
    const spacing = shape_ && data.size ? (2 * Math.max(...data.size)) / Math.min(...data.size) / ARROWS : 0.1;
    const factor = long < 1e-3 ? 1 : Math.max(NICE[0], ...NICE.filter((f) => f <= (2 * spacing) / long));
    paint(boards[0], expected, shown ? `expected, step ${shown}${data.of ? ` of ${data.of}` : ""}` : "expected", factor, null);
    paint(boards[1], observed, "observed in the clip", factor, visible);
    drawRuler(factor, there);
    caption.textContent = problem || sentence(data, there);
  }

  function drawRuler(factor, there) {
    const side = Math.min(boards[0].board.sheet.clientWidth, boards[0].board.sheet.clientHeight);
    if (!side) return;
    const share = NICE.filter((f) => f * 0.01 * factor * side <= 110).pop() || NICE[0], length = there ? share * 0.01 * factor * side : 0;
    ruler.setAttribute("width", Math.ceil(length) + 4);
    ruler.replaceChildren(...(there ? [shape("path", { d: `M2 11H${2 + length}M${length - 5} 6L${2 + length} 11L${length - 5} 16`, fill: "none", stroke: "currentColor", "stroke-width": 2, "stroke-linecap": "round", "stroke-linejoin": "round" })] : []));
    rulerText.textContent = there ? `${+share.toPrecision(2)} % of the shorter side${factor === 1 ? "" : `; arrows drawn ${factor} times as long as the motion`}` : "\u00a0";
  }

  function sentence(data, there) {
    if (!there) return "\u00a0";
    const parts = [`In the last frame things are ${data.mean.toFixed(1)} % of the shorter side from where they began, 95 of 100 places less than ${data.p95.toFixed(1)} %.`];
    if (data.error != null) parts.push(`Expected and observed are ${(50 * data.error).toFixed(1)} % apart (median where the picture has texture).`);
    if (observed && visible?.includes(0)) parts.push("Grey: cannot be compared.");
    return parts.join(" ");
  }

  const questions = asker(model, (wanted, message, buffers) => {
    problem = message.problem ? `Not to be had: ${message.problem}.` : "";
    if (!message.problem) fields.set(wanted, fieldOf(message, buffers[0]));
    else if (step === wanted) step = 0;
    draw();
  });

  function take() {
    const data = model.get("data");
    if (data.run !== run) {
      [run, fields, step, problem] = [data.run, new Map(), 0, ""];
      questions.forget();
    }
    if (data.expected) fields.set(data.expected.step, fieldOf(data.expected));
    observed = fieldOf(data.observed);
    visible = data.visible ? bytesOf(data.visible) : null;
    draw();
  }

  const clock = ticker(() => RATE, () => {
    frame = (frame + 1) % Math.max(1, total());
    draw();
  });
  function setPlaying(on) {
    playing = on && total() > 1;
    if (playing) clock.start();
    else clock.stop();
    setIcon(play, playing ? "pause" : "play", playing ? "Pause" : "Play");
  }

  const renew = oncePerFrame(take); // data and picture belong together
  const stop = listen(model, { "change:data": renew, "change:picture": renew, "msg:custom": questions.heard });
  const observer = new ResizeObserver(oncePerFrame(draw));
  boards.forEach(({ board }) => observer.observe(board.sheet));
  root.addEventListener("keydown", keepKeys);
  el.append(root);
  drawWheel(wheel);
  take();
  return () => {
    clock.stop();
    stop();
    observer.disconnect();
    boards.forEach(({ board }) => board.close());
  };
}

export default { initialize, render };
