// Point at something at left; at right stands what it reads, or who reads it.

const WAYS = { decoder: ["reads", "is read by"], encoder: ["reads", "is read by", "rollout"] };

// What is chosen, and what there is to choose from. `frame` and `part` read in the decoder, `key` is read there (a patch or a
// word); `patch` is a patch of the encoder.
function choiceOf(model) {
  const now = { way: "reads", frame: null, part: null, key: null, patch: null, encoderLayer: null, encoderHead: -1, pinned: false };
  const decoding = () => model.get("source") === "decoder";
  const facts = () => model.get("data")[model.get("source")] || {};
  const layout = () => model.get("data").layout;
  const grid = () => (decoding() ? layout()?.grid : facts().grid) || layout()?.grid || [1, 1];
  const tokens = () => [...layout().words, ...layout().others];
  const step = () => { const all = facts().steps || []; return all.includes(model.get("step")) ? model.get("step") : all[all.length - 1]; };
  const layer = () => (decoding() ? (facts().layers || []).indexOf(model.get("layer")) + 1 : clamp(now.encoderLayer ?? Infinity, 0, (facts().layers || [0]).length - 1));
  const head = () => { const h = decoding() ? model.get("head") : now.encoderHead; return h < (facts().heads || 0) ? h : -1; };

  function nameOf(key) {
    const [rows, cols] = grid(), n = rows * cols;
    return key < n ? `patch ${Math.floor(key / cols) + 1}, ${(key % cols) + 1}` : tokens()[key - n];
  }

  function settle() { // choose something to begin with, and nothing that is not there
    const [rows, cols] = grid(), l = layout(), middle = Math.floor(rows / 2) * cols + Math.floor(cols / 2);
    if (!WAYS[model.get("source")].includes(now.way)) now.way = "reads";
    if (now.patch == null || now.patch >= rows * cols) now.patch = middle;
    if (!l) return;
    now.frame = clamp(now.frame ?? l.frames - 1, 0, l.frames - 1);
    if (now.part == null || now.part >= l.parts.length) now.part = Math.max(0, l.parts.indexOf("subject"));
    if (now.key == null || now.key >= l.grid[0] * l.grid[1] + tokens().length) now.key = middle;
  }

  function where() { // in words
    const f = facts(), h = head(), k = layer();
    const name = !decoding() ? `layer ${f.layers[k]}` : k ? `layer ${f.layers[k - 1]}` : `mean of ${f.layers.length} layers`;
    return `${name}, ${h < 0 ? `mean of ${f.heads} heads` : `head ${h}`}${decoding() ? `, step ${step()}/${f.of}` : ""}`;
  }

  return { now, decoding, facts, layout, grid, tokens, step, layer, head, nameOf, settle, where };
}

// ---- the page

function attentionPage(model, choice, draw) {
  const { now, decoding, layout } = choice;
  const choose = (changes) => { Object.assign(now, changes); draw(); };
  const source = segmented("Whose attention", [["decoder", "Decoder"], ["encoder", "Image encoder"]], (value) => setTrait(model, "source", value));
  const way = segmented("Direction", [["reads", "reads"], ["is read by", "is read by"], ["rollout", "rollout", "through all layers, Abnar and Zuidema 2020: a proxy, no explanation"]], (value) => choose({ way: value }));
  const layers = picker("Layer", (value) => { if (decoding()) setTrait(model, "layer", value); else now.encoderLayer = +value; draw(); });
  const heads = picker("Head", (value) => { if (decoding()) setTrait(model, "head", +value); else now.encoderHead = +value; draw(); });
  const steps = picker("Step", (value) => setTrait(model, "step", +value));
  const left = easel("point here"), right = easel("the answer"), leftTitle = element("h4"), rightTitle = element("h4"), pin = element("span", { class: "i2v-pin" });
  left.node.setAttribute("tabindex", "0");
  left.node.setAttribute("role", "application"); // a screen reader hands on the arrow keys there, and nowhere else
  left.node.classList.add("i2v-pointable");
  right.image.classList.add("i2v-grey");
  const slider = element("input", { type: "range", min: 0, max: 0, step: 1, "aria-label": "Frame", oninput: () => choose({ frame: +slider.value }) });
  const count = element("span", { class: "i2v-count" });
  const film = clipFilm(model, (frame) => choose({ frame }));
  const parts = choiceChips("Part of the frame", (part) => choose({ part, pinned: true }));
  const keys = choiceChips("Word that is read", (k) => choose({ key: layout().grid[0] * layout().grid[1] + k, pinned: true }));
  const scale = scaleBar(), groups = element("p", { class: "i2v-groups" }), words = shareChips(), bars = frameBars(), table = readerTable();
  const caption = element("p", { class: "i2v-caption" }), spoken = element("span", { class: "i2v-hidden", "aria-live": "polite" });
  const frames = element("div", { class: "i2v-frames" }, element("div", { class: "i2v-tools" }, slider, count), film.node, parts.node);
  const answers = element("div", { class: "i2v-answers" }, groups, words.node, bars.title, bars.node);
  right.node.append(table.node);
  const root = element("div", { class: "i2v i2v-inspector i2v-attention", role: "group", "aria-label": "Attention" },
    element("div", { class: "i2v-tools" }, source.node, way.node, element("span", { class: "i2v-pickers" }, layers.node, heads.node, steps.node)),
    element("div", { class: "i2v-pair" },
      element("div", { class: "i2v-side" }, element("div", { class: "i2v-title" }, leftTitle, pin), left.node, frames, keys.node),
      element("div", { class: "i2v-side" }, rightTitle, right.node, scale.node, answers)),
    caption, spoken);
  return { root, source, way, layers, heads, steps, left, right, leftTitle, rightTitle, pin, slider, count, film, parts, keys, scale, groups, words, bars, table, caption, frames, answers, say: announcer(spoken) };
}

// The frames of the clip, or their numbers where it is not there yet.
function clipFilm(model, go) {
  let shown = null, total = 0;
  const film = filmStrip("i2v-film", null, go, (button, t) => {
    const clip = model.get("frames");
    button.replaceChildren(clip.length ? element("img", { alt: "", src: URL.createObjectURL(blobOf(clip[Math.min(t, clip.length - 1)])) }) : String(t + 1));
  });
  function set(frames) {
    const clip = model.get("frames");
    if (shown === clip && total === frames) return;
    [shown, total] = [clip, frames];
    for (const image of film.node.querySelectorAll("img")) URL.revokeObjectURL(image.src);
    film.fill(frames);
  }
  return { node: film.node, mark: film.mark, set, clear: () => set(0) };
}

function prefixOf(names) { // what all names begin with, up to a dot
  if (names.length < 2) return "";
  const [first, ...rest] = names.map((name) => name.split("."));
  const k = first.findIndex((part, i) => i === first.length - 1 || rest.some((other) => other[i] !== part));
  return first.slice(0, k).map((part) => `${part}.`).join("");
}

// ---- drawing: what all ways have in common, and then one function for each way

function drawTools(model, choice, page) {
  const { now, decoding, layer, head } = choice, { layers = [], heads = 0, steps = [] } = choice.facts(), rolled = now.way === "rollout";
  const common = prefixOf(layers), short = layers.map((name) => name.slice(common.length));
  page.source.set(model.get("source"));
  page.way.set(now.way);
  page.way.allow("rollout", !decoding());
  if (rolled) page.layers.fill([["-", "all"]], "-");
  else if (!decoding()) page.layers.fill(short.map((name, k) => [String(k), name]), String(layer()));
  else page.layers.fill([["", "mean of all"], ...layers.map((name, k) => [name, short[k]])], layers.includes(model.get("layer")) ? model.get("layer") : "");
  page.heads.fill([["-1", "mean of all"], ...Array.from({ length: rolled ? 0 : heads }, (_, h) => [String(h), String(h)])], rolled ? "-1" : String(head()));
  page.steps.node.hidden = !decoding();
  if (decoding()) page.steps.fill([["0", "newest"], ...steps.map((s) => [String(s), String(s)])], steps.includes(model.get("step")) ? String(model.get("step")) : "0");
}

function drawPictures(model, choice, page, there) {
  const { now, decoding, facts } = choice, clip = model.get("frames"), reverse = decoding() && now.way === "is read by", forward = decoding() && !reverse;
  page.left.picture(forward && clip.length ? clip[Math.min(now.frame ?? 0, clip.length - 1)] : model.get("picture"));
  page.right.picture(model.get("picture"));
  page.left.say(there ? "" : facts().problem || `What each ${decoding() ? "part of each frame" : "patch of the picture"} reads. Press Generate.`);
  page.left.canvas.style.opacity = 0;
  page.pin.textContent = there && now.pinned ? "pinned; Esc lets go" : "";
  page.frames.hidden = !forward;
  page.keys.node.hidden = !reverse;
  page.scale.node.classList.toggle("i2v-off", !there);
  page.answers.hidden = !forward;
  page.answers.classList.toggle("i2v-off", !there);
  page.table.node.hidden = !reverse;
  page.right.sheet.hidden = reverse;
}

function drawNothing(page) {
  page.leftTitle.textContent = "Point at something";
  page.rightTitle.textContent = "What it reads";
  page.left.node.setAttribute("aria-label", "Nothing to point at yet");
  page.right.canvas.setAttribute("aria-label", "nothing yet");
  page.right.say("\u00a0");
  page.scale.set("0", "\u2013");
  page.caption.textContent = "Share of attention: all that a token reads sums to 1.";
  page.groups.textContent = page.count.textContent = "\u00a0";
  page.slider.disabled = true;
  page.left.svg.replaceChildren();
  page.right.svg.replaceChildren();
  page.bars.clear("\u00a0");
  for (const part of [page.parts, page.words, page.keys, page.film, page.table]) part.clear();
}

function hold(page, map) { // it is on its way, or cannot be had
  page.caption.textContent = map?.problem ? `Not to be had: ${map.problem}.` : "Asking Python \u2026";
  if (map?.problem) page.right.say(map.problem);
}

const evenly = (m, top) => `1/${m} would be even${1 / m < top ? " (the mark on the scale)" : ", more than anything here"}`;
const setScale = (page, m, top) => page.scale.set("0", percent(top), 1 / m / top, `the mark: 1/${m}, an even share`);

function drawBoxes(svg, boxes, part) {
  const at = (box) => [box[0], box[1], box[2] - box[0], box[3] - box[1]];
  svg.setAttribute("viewBox", "0 0 1 1");
  svg.replaceChildren(...boxes.flatMap((box, k) => (box && k !== part ? outline(...at(box), false) : [])), ...(boxes[part] ? outline(...at(boxes[part])) : []));
}

function drawPatch(svg, [rows, cols], patch) { // null: none
  svg.setAttribute("viewBox", `0 0 ${cols} ${rows}`);
  svg.replaceChildren(...(patch == null ? [] : outline(patch % cols, Math.floor(patch / cols), 1, 1)));
}

function drawFrameTools({ now, layout }, page) {
  const { frames: T, parts, boxes } = layout(), place = `frame ${now.frame + 1} of ${T}`;
  page.leftTitle.textContent = "Point at a part of a frame";
  page.left.node.setAttribute("aria-label", `${parts[now.part]} of ${place}. Left and right arrow: frame; up and down: part; Enter pins, Escape lets go`);
  page.left.canvas.setAttribute("aria-label", `frame ${now.frame + 1}`);
  page.slider.disabled = false;
  page.slider.max = T - 1;
  page.slider.value = now.frame;
  page.slider.setAttribute("aria-valuetext", place);
  page.count.textContent = `frame ${now.frame + 1} / ${T}`;
  page.film.set(T);
  page.film.mark(now.frame);
  page.parts.set(parts, now.part);
  drawBoxes(page.left.svg, boxes, now.part);
}

function drawReads(choice, page, maps) {
  const { now } = choice, l = choice.layout(), names = choice.tokens(), [rows, cols] = l.grid, n = rows * cols, m = n + names.length;
  const q = now.frame * l.parts.length + now.part, title = `${l.parts[now.part]} of frame ${now.frame + 1} reads`;
  drawFrameTools(choice, page);
  page.rightTitle.textContent = capital(title);
  const map = maps.decoder(choice.step(), choice.layer(), choice.head() + 1);
  if (!map || map.problem) return hold(page, map);
  const row = rowOf(map.maps, map.tops, q, m), sum = (from, to) => row.subarray(from, to).reduce((a, b) => a + b, 0);
  const top = Math.max(...row.subarray(0, n)), least = map.tops[q] / 510; // half a step of the byte
  page.right.say("");
  heat(page.right.canvas, row, rows, cols, top);
  page.right.svg.replaceChildren();
  page.right.canvas.setAttribute("aria-label", `what it reads of the picture: at most ${percent(top)} of one patch`);
  setScale(page, m, top);
  const prompt = l.words.length, read = `picture ${percent(sum(0, n))}, words ${percent(sum(n, n + prompt), least)}`;
  page.groups.textContent = `Of it: ${read}${l.others.length ? `, ${l.others.join(", ")} ${percent(sum(n + prompt, m), least)}` : ""}`;
  page.words.set(names, prompt, row.subarray(n), least);
  if (map.frames) page.bars.set(rowOf(map.frames, map.frameTops, q, l.frames), now.frame);
  else page.bars.clear("Self-attention was not seen");
  page.caption.textContent = `${choice.where()}. Share of attention; ${evenly(m, top)}.`;
  page.say(`${title}: ${read}`);
}

function drawReadBy(choice, page, maps) {
  const { now, nameOf } = choice, l = choice.layout(), names = choice.tokens(), n = l.grid[0] * l.grid[1], m = n + names.length, P = l.parts.length;
  page.leftTitle.textContent = "Point at a patch, or choose a word";
  page.left.node.setAttribute("aria-label", `${nameOf(now.key)}. Arrow keys move over the patches; Enter pins, Escape lets go`);
  page.keys.set(names, now.key - n);
  drawPatch(page.left.svg, l.grid, now.key < n ? now.key : null);
  page.rightTitle.textContent = `${now.key < n ? "This patch" : `\u201c${nameOf(now.key)}\u201d`} is read by`;
  const map = maps.decoder(choice.step(), choice.layer(), choice.head() + 1);
  if (!map || map.problem) return hold(page, map);
  const shares = columnOf(map.maps, map.tops, now.key, m), largest = Math.max(...shares), top = Math.max(largest, 1e-12);
  const most = shares.indexOf(largest);
  page.right.say("");
  page.table.set(l.parts, l.frames, shares, map.tops, top);
  setScale(page, m, top);
  page.caption.textContent = `${choice.where()}. Share of attention that each token of the decoder gives to ${nameOf(now.key)}; ${evenly(m, top)}.`;
  const reader = `${l.parts[most % P]} of frame ${Math.floor(most / P) + 1}`;
  page.say(largest > 0 ? `${nameOf(now.key)} is read most by ${reader}, ${percent(top)}` : `${nameOf(now.key)} is read by nobody here`);
}

function encoderShares(choice, maps) { // from the whole map if it can be sent; or else the one row or column is asked for
  const { now } = choice, [rows, cols] = choice.grid(), n = rows * cols, [layer, head] = [choice.layer(), choice.head()], rolled = now.way === "rollout";
  const whole = !rolled && choice.facts().whole;
  const map = whole ? maps.encoder(layer, head) : maps.patch({ way: now.way, patch: now.patch, ...(rolled ? {} : { layer, head }) });
  if (!map || map.problem) return map;
  const cut = whole && now.way === "is read by" ? columnOf : rowOf;
  return { shares: cut(map.maps, map.tops, whole ? now.patch : 0, n) };
}

function drawEncoder(choice, page, maps) {
  const { now } = choice, grid = choice.grid(), [rows, cols] = grid, n = rows * cols, reverse = now.way === "is read by";
  const name = `patch in row ${Math.floor(now.patch / cols) + 1}, column ${(now.patch % cols) + 1}`;
  page.leftTitle.textContent = "Point at a patch";
  page.left.node.setAttribute("aria-label", `${name}. Arrow keys move; Enter pins, Escape lets go`);
  drawPatch(page.left.svg, grid, now.patch);
  page.rightTitle.textContent = reverse ? "Patches that read it" : now.way === "rollout" ? "It reads, through all layers" : "It reads";
  const found = encoderShares(choice, maps);
  if (!found || found.problem) return hold(page, found);
  const top = Math.max(...found.shares, 1e-12), sum = found.shares.reduce((a, b) => a + b, 0), { queries: total, layers } = choice.facts();
  page.right.say("");
  heat(page.right.canvas, found.shares, rows, cols, top);
  drawPatch(page.right.svg, grid, now.patch);
  const most = `${page.rightTitle.textContent}: at most ${percent(top)}`;
  page.right.canvas.setAttribute("aria-label", most);
  setScale(page, total, top);
  const rest = reverse ? "" : ` ${percent(sum)} of it goes to patches${total > n ? `, the rest to ${total - n} token${total - n > 1 ? "s" : ""} without a place` : ""}.`;
  const what = now.way === "rollout" ? `Rollout through ${layers.length} layers, heads averaged: a proxy, no explanation.`
    : `${choice.where()}. Share of attention${reverse ? " that each patch gives to this one" : ""}.`;
  page.caption.textContent = `${what}${rest} ${capital(evenly(total, top))}.`;
  page.say(`${name}: ${most}`);
}

// ---- pointing

function pointAt(choice, x, y) { // 0..1 each
  const { now, decoding } = choice, [rows, cols] = choice.grid();
  if (!choice.facts().layers) return;
  if (!decoding() || now.way !== "reads") {
    now[decoding() ? "key" : "patch"] = Math.floor(y * rows) * cols + Math.floor(x * cols);
    return;
  }
  const size = ([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);
  const inside = choice.layout().boxes.map((box, k) => [box, k]).filter(([box]) => box && x >= box[0] && x < box[2] && y >= box[1] && y < box[3]);
  inside.sort((a, b) => size(a[0]) - size(b[0]));
  if (inside.length) now.part = inside[0][1];
}

function move(choice, dx, dy) { // by the arrow keys
  const { now, decoding } = choice, [rows, cols] = choice.grid(), l = choice.layout();
  if (decoding() && now.way === "reads") {
    now.frame = clamp(now.frame + dx, 0, l.frames - 1);
    now.part = (now.part + dy + l.parts.length) % l.parts.length;
    return;
  }
  const name = decoding() ? "key" : "patch", at = now[name] < rows * cols ? now[name] : 0;
  now[name] = clamp(Math.floor(at / cols) + dy, 0, rows - 1) * cols + clamp((at % cols) + dx, 0, cols - 1);
}

function hearPointer(choice, { left }, redraw) {
  const { now } = choice, chosen = () => [now.part, now.key, now.patch].join();
  left.sheet.addEventListener("pointermove", (event) => {
    if (now.pinned || event.pointerType === "touch") return;
    const before = chosen();
    pointAt(choice, ...left.at(event));
    if (before !== chosen()) redraw();
  });
  left.sheet.addEventListener("click", (event) => {
    pointAt(choice, ...left.at(event));
    now.pinned = true;
    redraw();
  });
}

function hearKeys(choice, { root, left }, draw) {
  const { now } = choice, pin = () => (now.pinned = !now.pinned);
  const acts = { ArrowLeft: () => move(choice, -1, 0), ArrowRight: () => move(choice, 1, 0), ArrowUp: () => move(choice, 0, -1), ArrowDown: () => move(choice, 0, 1), Enter: pin, " ": pin };
  root.addEventListener("keydown", (event) => {
    keepKeys(event);
    if (event.key === "Escape" && now.pinned) { // the panel stops a run at Escape: not this one
      now.pinned = false;
      event.preventDefault();
      event.stopPropagation();
      return draw();
    }
    const act = acts[event.key];
    if (!act || event.target !== left.node || !choice.facts().layers || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
    draw();
  });
}

function render({ model, el }) {
  let closed = false;
  const choice = choiceOf(model), maps = mapStore(model, draw), page = attentionPage(model, choice, draw), redraw = oncePerFrame(draw);

  function draw() {
    if (closed) return;
    const began = performance.now(), there = Boolean(choice.facts().layers);
    choice.settle();
    drawTools(model, choice, page);
    drawPictures(model, choice, page, there);
    if (!there) drawNothing(page);
    else (!choice.decoding() ? drawEncoder : choice.now.way === "reads" ? drawReads : drawReadBy)(choice, page, maps);
    page.root.dataset.painted = (performance.now() - began).toFixed(2); // milliseconds, for those who measure
  }

  function take() { // what comes from Python
    maps.turnTo(model.get("data").run);
    maps.keep(model.get("block"));
    draw();
  }

  const stop = listen(model, {
    ...Object.fromEntries(["data", "block", "picture", "frames"].map((name) => [`change:${name}`, oncePerFrame(take)])),
    ...Object.fromEntries(["source", "layer", "head", "step"].map((name) => [`change:${name}`, redraw])),
    "msg:custom": maps.heard,
  });
  hearPointer(choice, page, redraw);
  hearKeys(choice, page, draw);
  el.append(page.root);
  take();
  return () => {
    closed = true;
    stop();
    page.left.close();
    page.right.close();
    page.film.clear();
  };
}

export default { initialize, render };
