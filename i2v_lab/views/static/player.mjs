const SPEEDS = [1, 2, 4, 8, 12, 16, 24, 30];

// The bitmaps of one clip; a frame that cannot be read is null.
async function decodeLane(lane) {
  const frames = await Promise.all(lane.frames.map((file) => decodeImage(file).catch(() => null)));
  return { name: lane.name, width: lane.width, height: lane.height, frames };
}

const frameOf = (lane, t) => lane.frames[Math.min(t, lane.frames.length - 1)];

// Where a picture goes in a box: whole, centred, at most twice its true size. A preview has fewer pixels and the same place.
function contain(width, height, lane) {
  const scale = Math.min(width / lane.width, height / lane.height, 2);
  return [Math.max(1, Math.round(lane.width * scale)), Math.max(1, Math.round(lane.height * scale))];
}

function pixelsOf(bitmap, width, height) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data;
}

// Per pixel the largest difference of the three channels; for each frame with its largest and its mean.
function differenceOf(a, b) {
  const { width, height } = a;
  const [p, q] = [pixelsOf(a, width, height), pixelsOf(b, width, height)];
  const values = new Uint8Array(width * height);
  let largest = 0, sum = 0;
  for (let i = 0, k = 0; i < values.length; i++, k += 4) {
    const d = Math.max(Math.abs(p[k] - q[k]), Math.abs(p[k + 1] - q[k + 1]), Math.abs(p[k + 2] - q[k + 2]));
    values[i] = d;
    sum += d;
    if (d > largest) largest = d;
  }
  return { values, width, height, largest, mean: sum / values.length };
}

function heatOf(difference, largest) {
  const image = new ImageData(difference.width, difference.height), pixels = new Uint32Array(image.data.buffer);
  const colours = Uint32Array.from({ length: 256 }, (_, d) => { // as the four bytes of a pixel lie in memory
    const [r, g, b] = CIVIDIS[largest ? Math.min(255, Math.round((255 * d) / largest)) : 0];
    return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
  });
  for (let i = 0; i < pixels.length; i++) pixels[i] = colours[difference.values[i]];
  const canvas = new OffscreenCanvas(difference.width, difference.height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function render({ model, el }) {
  let lanes = []; // decoded; what is on the screen
  let frame = model.get("frame"), playing = false, speed = model.get("fps");
  let differences = null; // { frames, largest } once they are known
  let wished = false; // Python has asked to play, and there was nothing yet that moves
  let closed = false, ticket = 0;
  let areas = []; // what was drawn as an area: its kind, and where it is
  const tiles = { still: patternTile("still"), regions: patternTile("regions") };

  const stage = element("div", { class: "i2v-player-stage", tabindex: 0, role: "group", "aria-label": "Clip: Space plays, arrow keys step" });
  const hint = element("p", { class: "i2v-player-hint" });
  const note = element("span", { class: "i2v-player-note", "aria-hidden": "true" });
  const spoken = element("span", { class: "i2v-hidden", "aria-live": "polite" });
  const buttons = {
    first: iconButton("first", "First frame", () => go(0)),
    previous: iconButton("previous", "Previous frame", () => go(frame - 1)),
    play: iconButton("play", "Play", () => setPlaying(!playing)),
    next: iconButton("next", "Next frame", () => go(frame + 1)),
    last: iconButton("last", "Last frame", () => go(total() - 1)),
  };
  const scrubber = element("input", { type: "range", class: "i2v-player-scrubber", min: 0, max: 0, step: 1, value: 0, "aria-label": "Frame", oninput: () => go(+scrubber.value) });
  const count = element("span", { class: "i2v-player-count" });
  const rate = element("select", { class: "i2v-select", "aria-label": "Frames per second", title: "Frames per second", onchange: () => (speed = +rate.value) });
  const loop = iconButton("loop", "Loop", () => setTrait(model, "loop", !model.get("loop")));
  const mode = element("button", { type: "button", class: "i2v-button i2v-outlined", "aria-label": "Difference", title: "Show where the two clips differ",
    onclick: () => setTrait(model, "mode", differing() ? "side by side" : "difference") }, icon("difference"), element("span", {}, "Difference"));
  const planned = element("button", { type: "button", class: "i2v-button i2v-outlined", "aria-label": "Show the plan", title: "Show what was drawn: where each arrow should be, still areas, regions",
    onclick: () => setTrait(model, "planned", !model.get("planned")) }, icon("plan"), element("span", {}, "Plan"));
  const film = filmStrip("i2v-player-film", "i2v-player-thumb", go, drawThumb);
  const root = element("div", { class: "i2v i2v-player", role: "group", "aria-label": "Player" },
    element("div", { class: "i2v-player-frame" }, stage, hint, note), spoken,
    element("div", { class: "i2v-player-controls" },
      element("span", { class: "i2v-player-buttons" }, ...Object.values(buttons)), scrubber, count,
      element("span", { class: "i2v-player-options" }, rate, loop, planned, mode)),
    film.node);
  const say = announcer(spoken);

  const total = () => Math.max(0, ...lanes.map((lane) => lane.frames.length));
  const differing = () => lanes.length === 2 && model.get("mode") === "difference";

  // ---- what is shown
  function cell() {
    return element("figure", { class: "i2v-player-lane" }, element("figcaption"),
      element("div", { class: "i2v-player-box" }, element("canvas", { role: "img" })));
  }

  function arrange() {
    const wanted = differing() ? 1 : lanes.length;
    while (stage.children.length > wanted) stage.lastChild.remove();
    while (stage.children.length < wanted) stage.append(cell());
    stage.style.setProperty("--columns", wanted <= 3 ? Math.max(1, wanted) : Math.ceil(wanted / 2));
    stage.classList.toggle("i2v-named", lanes.length > 1);
  }

  function paint(figure, bitmap, lane, label, caption, over = null) {
    const [text, box] = figure.children, canvas = box.firstChild;
    canvas.setAttribute("aria-label", label);
    if (text.textContent !== caption) text.textContent = caption;
    const { clientWidth, clientHeight } = box;
    if (!bitmap || !clientWidth || !clientHeight) return;
    const [width, height] = contain(clientWidth, clientHeight, lane);
    const context = fitCanvas(canvas, width, height);
    context.drawImage(bitmap, 0, 0, width, height);
    over?.(context, width, height);
  }

  function drawPlan(context, width, height) { // each path, and where on it the point should be now; faintly the areas
    for (const [kind, bitmap] of areas) {
      const scratch = new OffscreenCanvas(width, height), pen = scratch.getContext("2d");
      pen.drawImage(bitmap, 0, 0, width, height);
      patterned(pen, tiles[kind], width, height);
      context.globalAlpha = 0.5;
      context.drawImage(scratch, 0, 0, width, height);
      context.globalAlpha = 1;
    }
    for (const path of model.get("paths")) {
      const places = path.map(([x, y]) => [x * width, y * height]);
      drawPath(context, places, { width: 1.6 });
      drawDot(context, places[Math.min(frame, places.length - 1)], 5, "#ffd400");
    }
  }

  function draw() {
    const place = `frame ${frame + 1} of ${total()}`;
    if (differing()) drawDifference(place);
    else lanes.forEach((lane, k) => {
      const over = frame >= lane.frames.length ? " (ended, last frame)" : "";
      paint(stage.children[k], frameOf(lane, frame), lane, `${lane.name}, ${place}${over}`, lane.name + over, k === 0 && model.get("planned") ? drawPlan : null);
    });
    film.mark(frame);
    if (+scrubber.value !== frame) scrubber.value = frame;
    scrubber.setAttribute("aria-valuetext", place);
    count.textContent = total() ? `frame ${frame + 1} / ${total()}` : "";
  }

  function drawDifference(place) {
    const [a, b] = lanes, names = `${a.name} \u2212 ${b.name}`;
    if (!differences) return paint(stage.children[0], frameOf(a, frame), a, `comparing ${a.name} and ${b.name}`, "comparing \u2026");
    const here = differences.frames[Math.min(frame, differences.frames.length - 1)];
    const figures = differences.largest
      ? `brightest = ${differences.largest} of 255; in this frame largest ${here.largest}, mean ${here.mean.toFixed(1)}`
      : "no difference in any frame shown";
    here.heat ??= heatOf(here, differences.largest);
    paint(stage.children[0], here.heat, a, `difference of ${a.name} and ${b.name}, ${place}: ${figures}`, `|${names}|: ${figures}`);
  }

  // Differences share one scale over the whole clip, so that frames can be compared. Between frames the page may breathe.
  async function compare() {
    if (!differing() || differences) return;
    const mine = ++ticket, [a, b] = lanes, frames = [];
    for (let t = 0; t < total(); t++) {
      const [p, q] = [frameOf(a, t), frameOf(b, t)];
      frames.push(p && q ? differenceOf(p, q) : { values: new Uint8Array(1), width: 1, height: 1, largest: 0, mean: 0 });
      if (t % 4 === 3) await new Promise((resume) => setTimeout(resume));
      if (closed || mine !== ticket) return;
    }
    differences = { frames, largest: Math.max(...frames.map((each) => each.largest)) };
    draw();
  }

  function drawThumb(thumb, t) {
    if (!thumb.firstChild) thumb.append(element("canvas", { "aria-hidden": "true" }));
    const bitmap = frameOf(lanes[0], t), { clientWidth: width, clientHeight: height } = thumb;
    if (!bitmap || !width) return;
    const scale = Math.max(width / bitmap.width, height / bitmap.height), [w, h] = [bitmap.width * scale, bitmap.height * scale];
    fitCanvas(thumb.firstChild, width, height).drawImage(bitmap, (width - w) / 2, (height - h) / 2, w, h);
  }

  // ---- time
  const clock = ticker(() => speed, () => {
    if (frame < total() - 1) show(frame + 1);
    else if (model.get("loop")) show(0);
    else setPlaying(false);
  });

  function setPlaying(on) {
    wished = false;
    playing = on && total() > 1;
    if (playing) {
      if (frame >= total() - 1) show(0);
      clock.start();
    } else {
      clock.stop();
      setTrait(model, "frame", frame);
    }
    setIcon(buttons.play, playing ? "pause" : "play", playing ? "Pause" : "Play");
    if (on === playing) setTrait(model, "playing", playing);
  }

  function show(t) {
    frame = clamp(t, 0, Math.max(0, total() - 1));
    draw();
  }

  function go(t) { // the user wants this frame
    if (playing || wished) setPlaying(false);
    show(t);
    setTrait(model, "frame", frame);
  }

  // ---- what comes from Python
  function settle() {
    const many = total() > 1;
    for (const control of [...Object.values(buttons), scrubber]) control.disabled = !many;
    scrubber.max = Math.max(0, total() - 1);
    loop.setAttribute("aria-pressed", model.get("loop"));
    mode.hidden = lanes.length !== 2;
    mode.setAttribute("aria-pressed", differing());
    planned.hidden = !lanes.length || differing() || !(model.get("paths").length || areas.length);
    planned.setAttribute("aria-pressed", model.get("planned"));
    hint.textContent = lanes.length ? "" : model.get("hint");
    root.style.setProperty("--height", `${model.get("height")}px`);
    arrange();
    if (lanes.length) frame = clamp(frame, 0, total() - 1);
    film.fill(total());
    draw();
    compare();
  }

  // One set of frames is decoded at a time and the newest waits: what comes faster is left out, and the last one is always shown.
  let waiting = null, busy = false;
  async function take() {
    waiting = model.get("lanes") || [];
    if (busy) return;
    busy = true;
    while (waiting && !closed) {
      const next = waiting;
      waiting = null;
      const decoded = await Promise.all(next.map(decodeLane));
      const old = lanes;
      [lanes, differences] = [decoded, null];
      ticket++;
      if (closed) break;
      settle();
      old.forEach((lane) => lane.frames.forEach((bitmap) => bitmap?.close()));
      grant();
    }
    busy = false;
  }

  async function takeAreas() {
    const asked = model.get("areas");
    const read = await Promise.all(Object.entries(asked).map(async ([kind, file]) => [kind, await createImageBitmap(blobOf(file, "image/png"))]));
    if (closed || asked !== model.get("areas")) return;
    areas = read;
    settle();
  }

  // Python asks to play or to stop. To play waits for frames that move; what the user does meanwhile counts more.
  function wish() {
    const on = model.get("playing");
    if (!on && playing) setPlaying(false);
    wished = on && !playing;
    grant();
  }

  function grant() {
    if (!wished) return;
    if (reducedMotion()) setPlaying(false); // the user has asked every page for stillness: Python is told
    else if (total() > 1) setPlaying(true);
  }

  function setSpeed() {
    speed = model.get("fps");
    const speeds = [...new Set([...SPEEDS, speed])].sort((a, b) => a - b);
    rate.replaceChildren(...speeds.map((each) => element("option", { value: each, selected: each === speed }, `${+each.toFixed(2)} fps`)));
  }

  function setNote() {
    note.textContent = model.get("note");
    say(model.get("note"));
  }

  // ---- keys
  root.addEventListener("keydown", (event) => {
    keepKeys(event);
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || target === rate || total() < 2) return;
    if (key === " " && target.tagName === "BUTTON") return; // the button's own
    const act = { " ": () => setPlaying(!playing), ArrowLeft: () => go(frame - 1), ArrowRight: () => go(frame + 1), Home: () => go(0), End: () => go(total() - 1) }[key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  stage.addEventListener("click", () => total() > 1 && setPlaying(!playing));

  const stop = listen(model, {
    "change:lanes": take,
    "change:fps": setSpeed,
    "change:frame": () => !playing && model.get("frame") !== frame && show(model.get("frame")),
    "change:playing": wish,
    "change:loop": settle,
    "change:mode": settle,
    "change:planned": settle,
    "change:paths": settle,
    "change:areas": takeAreas,
    "change:note": setNote,
    "change:hint": settle,
    "change:height": settle,
  });
  const observer = new ResizeObserver(() => {
    film.fill(total());
    draw();
  });
  observer.observe(stage);
  el.append(root);
  setSpeed();
  setNote();
  settle();
  wish();
  take();
  takeAreas();

  return () => {
    closed = true;
    clock.stop();
    stop();
    observer.disconnect();
    lanes.forEach((lane) => lane.frames.forEach((bitmap) => bitmap?.close()));
  };
}

export default { initialize, render };
