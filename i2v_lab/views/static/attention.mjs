// Point at something at left; at right stands what it reads, or who reads it.

const WAYS = { decoder: ["reads", "is read by"], encoder: ["reads", "is read by", "rollout"] };
const floats = (value) => new Float32Array(bytesOf(value).slice().buffer); // a copy: views of four bytes must start at one of four

function render({ model, el }) {
  // What is chosen. `frame` and `part` read in the decoder, `key` is read there (a patch or a word); `patch` is a patch of the encoder.
  const now = { way: "reads", frame: null, part: null, key: null, patch: null, encoderLayer: null, encoderHead: -1, pinned: false };
  let run = null, known = new Map(), waiting = null, questions = 0, closed = false;

  // ---- the page
  const source = segmented("Whose attention", [["decoder", "Decoder"], ["encoder", "Image encoder"]], (value) => setTrait(model, "source", value));
  const way = segmented("Direction", [["reads", "reads"], ["is read by", "is read by"], ["rollout", "rollout", "through all layers, Abnar and Zuidema 2020: a proxy, no explanation"]], (value) => { now.way = value; draw(); });
  const layers = picker("Layer", (value) => { if (decoding()) setTrait(model, "layer", value); else now.encoderLayer = +value; draw(); });
  const heads = picker("Head", (value) => { if (decoding()) setTrait(model, "head", +value); else now.encoderHead = +value; draw(); });
  const steps = picker("Step", (value) => setTrait(model, "step", +value));
  const left = easel("point here"), right = easel("the answer");
  const leftTitle = element("h4"), rightTitle = element("h4"), pin = element("span", { class: "i2v-pin" });
  left.node.setAttribute("tabindex", "0");
  left.node.setAttribute("role", "group");
  left.node.classList.add("i2v-pointable");
  const scale = scaleBar();
  const parts = element("div", { class: "i2v-chips", role: "group", "aria-label": "Part of the frame" });
  const slider = element("input", { type: "range", min: 0, max: 0, step: 1, "aria-label": "Frame", oninput: () => { now.frame = +slider.value; draw(); } });
  const count = element("span", { class: "i2v-count" });
  const film = element("div", { class: "i2v-film" });
  const frames = element("div", { class: "i2v-frames" }, element("div", { class: "i2v-tools" }, slider, count), film, parts);
  const keys = element("div", { class: "i2v-chips", role: "group", "aria-label": "Word that is read" });
  const words = element("div", { class: "i2v-chips" }), groups = element("p", { class: "i2v-groups" });
  const bars = element("div", { class: "i2v-bars", role: "img" }), barsTitle = element("h5");
  const table = element("table", { class: "i2v-matrix" });
  const caption = element("p", { class: "i2v-caption" }), spoken = element("span", { class: "i2v-hidden", "aria-live": "polite" });
  const say = announcer(spoken);
  const answers = element("div", { class: "i2v-answers" }, groups, words, barsTitle, bars);
  right.node.append(table);
  const root = element("div", { class: "i2v i2v-inspector i2v-attention", role: "group", "aria-label": "Attention" },
    element("div", { class: "i2v-tools" }, source.node, way.node, element("span", { class: "i2v-pickers" }, layers.node, heads.node, steps.node)),
    element("div", { class: "i2v-pair" },
      element("div", { class: "i2v-side" }, element("div", { class: "i2v-title" }, leftTitle, pin), left.node, frames, keys),
      element("div", { class: "i2v-side" }, rightTitle, right.node, scale.node, answers)),
    caption, spoken);

  // ---- what there is
  const decoding = () => model.get("source") === "decoder";
  const facts = () => model.get("data")[model.get("source")] || {};
  const layout = () => model.get("data").layout;
  const grid = () => (decoding() ? layout()?.grid : facts().grid) || layout()?.grid || [1, 1];
  const shownStep = () => { const all = facts().steps || []; return all.includes(model.get("step")) ? model.get("step") : all[all.length - 1]; };
  const layerNumber = () => (decoding() ? (facts().layers || []).indexOf(model.get("layer")) + 1 : clamp(now.encoderLayer ?? Infinity, 0, (facts().layers || [0]).length - 1));
  const head = () => { const h = decoding() ? model.get("head") : now.encoderHead; return h < (facts().heads || 0) ? h : -1; };
  const tokens = () => [...layout().words, ...layout().others];
  const nameOf = (key) => { const [rows, cols] = grid(), n = rows * cols; return key < n ? `patch ${Math.floor(key / cols) + 1}, ${(key % cols) + 1}` : tokens()[key - n]; };

  function settle() { // choose something to begin with, and nothing that is not there
    const [rows, cols] = grid(), l = layout(), middle = Math.floor(rows / 2) * cols + Math.floor(cols / 2);
    if (!WAYS[model.get("source")].includes(now.way)) now.way = "reads";
    if (now.patch == null || now.patch >= rows * cols) now.patch = middle;
    if (!l) return;
    now.frame = clamp(now.frame ?? l.frames - 1, 0, l.frames - 1);
    if (now.part == null || now.part >= l.parts.length) now.part = Math.max(0, l.parts.indexOf("subject"));
    if (now.key == null || now.key >= l.grid[0] * l.grid[1] + tokens().length) now.key = middle;
  }

  // ---- maps: those that came, and those that are asked for, one at a time
  function keep(block, step) {
    const maps = bytesOf(block.maps), tops = floats(block.tops), [L, H] = [block.layers.length, block.heads.length];
    const framed = block.frames ? bytesOf(block.frames) : null, frameTops = framed && floats(block.frame_tops), q = tops.length / (L * H);
    const cut = (all, k, parts) => all.subarray((k * all.length) / parts, ((k + 1) * all.length) / parts);
    block.layers.forEach((layer, i) => block.heads.forEach((h, j) => {
      const k = i * H + j;
      known.set(`d ${step} ${layer} ${h}`, { q, maps: cut(maps, k, L * H), tops: cut(tops, k, L * H), frames: framed && cut(framed, k, L * H), frameTops: framed && cut(frameTops, k, L * H) });
    }));
  }

  function need(name, question) { // the map, or undefined while it is on its way
    if (known.has(name)) return known.get(name);
    if (!waiting || Date.now() - waiting.since > 8000) {
      waiting = { name, since: Date.now(), id: ++questions };
      model.send({ ask: { run, ...question }, id: waiting.id });
    }
  }

  function answered(message, buffers) {
    if (!waiting || message?.id !== waiting.id) return; // of an earlier run, or too late
    const { name } = waiting;
    waiting = null;
    if (message.problem) known.set(name, { problem: message.problem });
    else if (name.startsWith("d")) keep({ ...message, maps: buffers[0], tops: buffers[1], frames: buffers[2], frame_tops: buffers[3] }, message.step);
    else known.set(name, { maps: bytesOf(buffers[0]), tops: floats(buffers[1]) });
    draw();
  }

  const rowOf = (maps, tops, k, m) => Float32Array.from({ length: m }, (_, i) => (maps[k * m + i] / 255) * tops[k]);
  const columnOf = (maps, tops, k, m) => Float32Array.from(tops, (top, i) => (maps[i * m + k] / 255) * top);

  function decoderMap() {
    const [step, layer, h] = [shownStep(), layerNumber(), head() + 1];
    return step && need(`d ${step} ${layer} ${h}`, { what: "decoder", step, layer, head: h });
  }

  function encoderShares() {
    const [rows, cols] = grid(), n = rows * cols, [layer, h, patch] = [layerNumber(), head(), now.patch];
    if (now.way !== "rollout" && facts().whole) {
      const map = need(`e ${layer} ${h}`, { what: "encoder", layer, head: h });
      return !map || map.problem ? map : { shares: (now.way === "reads" ? rowOf : columnOf)(map.maps, map.tops, patch, n) };
    }
    const question = { what: "patch", way: now.way, patch, ...(now.way === "rollout" ? {} : { layer, head: h }) };
    const map = need(`p ${JSON.stringify(question)}`, question);
    return !map || map.problem ? map : { shares: rowOf(map.maps, map.tops, 0, n) };
  }

  // ---- drawing
  let painted = 0; // milliseconds of the last drawing, for those who measure
  function draw() {
    if (closed) return;
    const began = performance.now(), data = model.get("data"), f = facts(), there = Boolean(f.layers);
    settle();
    source.set(model.get("source"));
    way.set(now.way);
    way.allow("rollout", !decoding());
    const common = prefixOf(f.layers || []);
    const short = (f.layers || []).map((name) => name.slice(common.length));
    if (decoding()) {
      layers.fill([["", "mean of all"], ...(f.layers || []).map((name, k) => [name, short[k]])], there && f.layers.includes(model.get("layer")) ? model.get("layer") : "");
      steps.fill([["0", "newest"], ...(f.steps || []).map((s) => [String(s), String(s)])], (f.steps || []).includes(model.get("step")) ? String(model.get("step")) : "0");
    } else layers.fill(now.way === "rollout" ? [["-", "all"]] : short.map((name, k) => [String(k), name]), now.way === "rollout" ? "-" : String(layerNumber()));
    heads.fill(now.way === "rollout" ? [["-1", "mean of all"]] : [["-1", "mean of all"], ...Array.from({ length: f.heads || 0 }, (_, h) => [String(h), String(h)])], now.way === "rollout" ? "-1" : String(head()));
    steps.node.hidden = !decoding();
    left.picture(leftPicture());
    right.picture(model.get("picture"));
    right.image.classList.add("i2v-grey");
    pin.textContent = now.pinned ? "pinned; Esc lets go" : "";
    left.say(there ? "" : f.problem || (decoding() ? "What each part of each frame reads. Press Generate." : "What each patch of the picture reads. Press Generate."));
    const reverse = decoding() && now.way === "is read by", forward = decoding() && !reverse;
    frames.hidden = !forward;
    keys.hidden = !reverse;
    scale.node.classList.toggle("i2v-off", !there);
    answers.hidden = !forward;
    answers.classList.toggle("i2v-off", !there);
    table.hidden = !reverse;
    right.sheet.hidden = reverse;
    if (!there) blank();
    else if (forward) drawReads();
    else if (reverse) drawReadBy();
    else drawEncoder();
    painted = performance.now() - began;
    root.dataset.painted = painted.toFixed(2);
  }

  const leftPicture = () => {
    const clip = model.get("frames");
    return decoding() && now.way === "reads" && clip.length ? clip[Math.min(now.frame ?? 0, clip.length - 1)] : model.get("picture");
  };
  const leaf = (names) => names.map((n) => n.split("."));
  function prefixOf(names) { // what all names begin with, up to a dot
    if (names.length < 2) return "";
    const [first, ...rest] = leaf(names), k = first.findIndex((part, i) => i === first.length - 1 || rest.some((other) => other[i] !== part));
    return first.slice(0, k).map((part) => `${part}.`).join("");
  }

  function blank() {
    leftTitle.textContent = "Point at something";
    rightTitle.textContent = "What it reads";
    right.say("\u00a0");
    scale.set("0", "\u2013");
    caption.textContent = "Share of attention: all that a token reads sums to 1.";
    groups.textContent = barsTitle.textContent = "\u00a0";
    slider.disabled = true;
    for (const node of [left.svg, right.svg, parts, words, keys, bars, film, table]) node.replaceChildren();
    built = {};
  }

  // Rows of buttons and cells are made once for a layout; after that only their texts and colours change.
  let built = {};
  function build(name, key, make) {
    if (built[name] === key) return;
    built[name] = key;
    make();
  }
  const shaded = (node, share, top) => node.style.setProperty("--share", `${Math.round(100 * clamp(share / top, 0, 1))}%`);
  const told = (text) => { caption.textContent = text; };
  const even = (m, top) => `1/${m} would be even${1 / m < top ? " (the mark on the scale)" : ", more than anything here"}`;
  function where() {
    const f = facts(), n = f.heads, h = head(), every = layerNumber();
    const layer = decoding() ? (every ? `layer ${f.layers[every - 1]}` : `mean of ${f.layers.length} layers`) : `layer ${f.layers[every]}`;
    const at = decoding() ? `, step ${shownStep()}/${f.of}` : "";
    return `${layer}, ${h < 0 ? `mean of ${n} heads` : `head ${h}`}${at}`;
  }

  function drawReads() {
    const l = layout(), [rows, cols] = l.grid, n = rows * cols, T = l.frames, P = l.parts.length, q = now.frame * P + now.part, names = tokens();
    leftTitle.textContent = "Point at a part of a frame";
    left.node.setAttribute("aria-label", `${l.parts[now.part]} of frame ${now.frame + 1} of ${T}. Left and right arrow: frame; up and down: part; Enter pins, Escape lets go`);
    slider.disabled = false;
    slider.max = T - 1;
    slider.value = now.frame;
    slider.setAttribute("aria-valuetext", `frame ${now.frame + 1} of ${T}`);
    count.textContent = `frame ${now.frame + 1} / ${T}`;
    drawFilm(T);
    build("parts", l.parts.join(), () => parts.replaceChildren(...l.parts.map((name, k) => element("button", { type: "button", class: "i2v-chip", onclick: () => { now.part = k; now.pinned = true; draw(); } }, name))));
    [...parts.children].forEach((b, k) => b.setAttribute("aria-pressed", String(k === now.part)));
    drawBoxes(l);

    const map = decoderMap(), title = `${l.parts[now.part]} of frame ${now.frame + 1} reads`;
    rightTitle.textContent = capital(title);
    if (!map || map.problem) return hold(map);
    const m = n + names.length, row = rowOf(map.maps, map.tops, q, m), sum = (from, to) => row.subarray(from, to).reduce((a, b) => a + b, 0);
    const top = Math.max(...row.subarray(0, n)), least = map.tops[q] / 510; // half a step of the byte
    right.say("");
    heat(right.canvas, row, rows, cols, top);
    right.svg.replaceChildren();
    right.canvas.setAttribute("aria-label", `what it reads of the picture: at most ${percent(top)} of one patch`);
    scale.set("0", percent(top), 1 / m / top, `the mark: 1/${m}, an even share`);
    const [picture, prompt, other] = [sum(0, n), sum(n, n + l.words.length), sum(n + l.words.length, m)];
    groups.textContent = `Of it: picture ${percent(picture)}, words ${percent(prompt, least)}${l.others.length ? `, ${l.others.join(", ")} ${percent(other, least)}` : ""}`;
    drawWords(words, names, row.subarray(n), l.words.length, least);
    if (map.frames) drawBars(rowOf(map.frames, map.frameTops, q, T));
    else {
      barsTitle.textContent = "Self-attention was not seen";
      bars.replaceChildren();
      built.bars = null;
    }
    told(`${where()}. Share of attention; ${even(m, top)}.`);
    say(`${title}: picture ${percent(picture)}, words ${percent(prompt, least)}`);
  }

  function hold(map) { // it is on its way, or cannot be had
    told(map?.problem ? `Not to be had: ${map.problem}.` : "Asking Python \u2026");
    if (map?.problem) right.say(map.problem);
  }

  function drawFilm(T) {
    const clip = model.get("frames"), n = Math.min(16, T), pick = Array.from({ length: n }, (_, k) => Math.round((k * (T - 1)) / Math.max(1, n - 1)));
    if (built.film !== clip || built.T !== T) {
      [built.film, built.T] = [clip, T];
      for (const image of film.querySelectorAll("img")) URL.revokeObjectURL(image.src);
      film.replaceChildren(...pick.map((t) => element("button", { type: "button", tabindex: -1, "data-frame": t, "aria-label": `Go to frame ${t + 1}`, title: `frame ${t + 1}`, onclick: () => { now.frame = t; draw(); } },
        clip.length ? element("img", { alt: "", src: URL.createObjectURL(blobOf(clip[Math.min(t, clip.length - 1)])) }) : String(t + 1))));
    }
    const near = pick.reduce((best, t) => (Math.abs(t - now.frame) < Math.abs(best - now.frame) ? t : best), 0);
    for (const b of film.children) b.toggleAttribute("aria-current", +b.dataset.frame === near);
  }

  function drawBoxes(l) {
    left.svg.setAttribute("viewBox", "0 0 1 1");
    const at = (box) => [box[0], box[1], box[2] - box[0], box[3] - box[1]];
    const thin = l.boxes.flatMap((box, k) => (box && k !== now.part ? outline(...at(box), false) : []));
    const own = l.boxes[now.part];
    left.svg.replaceChildren(...thin, ...(own ? outline(...at(own)) : []));
    left.canvas.setAttribute("aria-label", `frame ${now.frame + 1}`);
    left.canvas.style.opacity = 0;
  }

  function drawWords(node, names, shares, prompt, least) {
    build("words", names.join("\n"), () => node.replaceChildren(...names.map((name, k) =>
      element("span", { class: `i2v-chip${k >= prompt ? " i2v-other" : ""}` }, name, element("small")))));
    const top = Math.max(...shares, 1e-9);
    [...node.children].forEach((chip, k) => {
      chip.lastChild.textContent = percent(shares[k], least);
      shaded(chip, shares[k], top);
    });
  }

  function drawBars(shares) {
    const T = shares.length, top = Math.max(...shares), most = shares.indexOf(top);
    build("bars", T, () => bars.replaceChildren(...Array.from({ length: T }, () => element("b", {}, element("i"))), element("em")));
    bars.style.setProperty("--even", `${(100 / T / top).toFixed(1)}%`);
    for (let t = 0; t < T; t++) {
      const bar = bars.children[t];
      bar.firstChild.style.height = `${(100 * shares[t]) / top}%`;
      bar.title = `frame ${t + 1}: ${percent(shares[t])}`;
      bar.toggleAttribute("data-own", t === now.frame);
    }
    barsTitle.textContent = `Frames (self-attention): most of frame ${most + 1}, ${percent(top)}`;
    bars.setAttribute("aria-label", `shares of frames 1 to ${T}; most of frame ${most + 1}, ${percent(top)}; its own, ${now.frame + 1}, ${percent(shares[now.frame])}`);
  }

  function drawReadBy() {
    const l = layout(), [rows, cols] = l.grid, n = rows * cols, T = l.frames, P = l.parts.length, names = tokens(), m = n + names.length;
    leftTitle.textContent = "Point at a patch, or choose a word";
    left.node.setAttribute("aria-label", `${nameOf(now.key)}. Arrow keys move over the patches; Enter pins, Escape lets go`);
    build("keys", names.join("\n"), () => keys.replaceChildren(...names.map((name, k) => element("button", { type: "button", class: "i2v-chip", onclick: () => { now.key = n + k; now.pinned = true; draw(); } }, name))));
    [...keys.children].forEach((b, k) => b.setAttribute("aria-pressed", String(n + k === now.key)));
    drawPatch(now.key < n ? now.key : null);
    rightTitle.textContent = `${now.key < n ? "This patch" : `\u201c${nameOf(now.key)}\u201d`} is read by`;
    const map = decoderMap();
    if (!map || map.problem) return hold(map);
    right.say("");
    const shares = columnOf(map.maps, map.tops, now.key, m), top = Math.max(...shares, 1e-12);
    build("table", `${T} ${l.parts.join()}`, () => {
      const headRow = element("tr", {}, element("th", {}, "frame"), ...Array.from({ length: T }, (_, t) => element("th", { scope: "col" }, T <= 16 || t % Math.ceil(T / 16) === 0 ? String(t + 1) : "")));
      table.replaceChildren(element("caption", { class: "i2v-hidden" }, "Share that each part of each frame reads of it"), element("thead", {}, headRow),
        element("tbody", {}, ...l.parts.map((name) => element("tr", {}, element("th", { scope: "row" }, name), ...Array.from({ length: T }, () => element("td", {}, element("span", { class: "i2v-hidden" })))))));
    });
    l.parts.forEach((name, p) => {
      const cells = table.tBodies[0].rows[p].cells;
      for (let t = 0; t < T; t++) {
        const share = shares[t * P + p], cell = cells[t + 1], text = percent(share, map.tops[t * P + p] / 510);
        cell.style.background = `rgb(${CIVIDIS[Math.round(255 * clamp(share / top, 0, 1))].join(" ")})`;
        cell.title = `${name}, frame ${t + 1}: ${text}`;
        cell.firstChild.textContent = text;
      }
    });
    scale.set("0", percent(top), 1 / m / top, `the mark: 1/${m}, an even share`);
    const most = shares.indexOf(top);
    told(`${where()}. Share of attention that each token of the decoder gives to ${nameOf(now.key)}; ${even(m, top)}.`);
    say(`${nameOf(now.key)} is read most by ${l.parts[most % P]} of frame ${Math.floor(most / P) + 1}, ${percent(top)}`);
  }

  function drawPatch(patch) {
    const [rows, cols] = grid();
    left.canvas.style.opacity = 0;
    left.svg.setAttribute("viewBox", `0 0 ${cols} ${rows}`);
    left.svg.replaceChildren(...(patch == null ? [] : outline(patch % cols, Math.floor(patch / cols), 1, 1)));
  }

  function drawEncoder() {
    const [rows, cols] = grid(), n = rows * cols, name = `patch in row ${Math.floor(now.patch / cols) + 1}, column ${(now.patch % cols) + 1}`;
    leftTitle.textContent = "Point at a patch";
    left.node.setAttribute("aria-label", `${name}. Arrow keys move; Enter pins, Escape lets go`);
    drawPatch(now.patch);
    rightTitle.textContent = now.way === "is read by" ? "Patches that read it" : now.way === "rollout" ? "It reads, through all layers" : "It reads";
    const found = encoderShares();
    if (!found || found.problem) return hold(found);
    const top = Math.max(...found.shares, 1e-12), sum = found.shares.reduce((a, b) => a + b, 0), total = facts().queries;
    right.say("");
    heat(right.canvas, found.shares, rows, cols, top);
    right.canvas.setAttribute("aria-label", `${rightTitle.textContent}: at most ${percent(top)}`);
    right.svg.setAttribute("viewBox", `0 0 ${cols} ${rows}`);
    right.svg.replaceChildren(...outline(now.patch % cols, Math.floor(now.patch / cols), 1, 1));
    scale.set("0", percent(top), 1 / total / top, `the mark: 1/${total}, an even share`);
    const rest = now.way === "is read by" ? "" : ` ${percent(sum)} of it goes to patches${total > n ? `, the rest to ${total - n} token${total - n > 1 ? "s" : ""} without a place` : ""}.`;
    told(now.way === "rollout"
      ? `Rollout through ${facts().layers.length} layers, heads averaged: a proxy, no explanation.${rest} ${capital(even(total, top))}.`
      : `${where()}. Share of attention${now.way === "is read by" ? " that each patch gives to this one" : ""}.${rest} ${capital(even(total, top))}.`);
    say(`${name}: ${right.canvas.getAttribute("aria-label")}`);
  }

  // ---- pointing
  function point(event) {
    if (!facts().layers) return;
    const [x, y] = left.at(event), [rows, cols] = grid();
    if (decoding() && now.way === "reads") {
      const size = ([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);
      const inside = layout().boxes.map((box, k) => [box, k]).filter(([box]) => box && x >= box[0] && x < box[2] && y >= box[1] && y < box[3]).sort((a, b) => size(a[0]) - size(b[0]));
      if (inside.length) now.part = inside[0][1];
    } else now[decoding() ? "key" : "patch"] = Math.floor(y * rows) * cols + Math.floor(x * cols);
  }
  const redraw = oncePerFrame(draw);
  left.sheet.addEventListener("pointermove", (event) => {
    if (now.pinned || event.pointerType === "touch") return;
    const before = [now.part, now.key, now.patch].join();
    point(event);
    if (before !== [now.part, now.key, now.patch].join()) redraw();
  });
  left.sheet.addEventListener("click", (event) => {
    point(event);
    now.pinned = true;
    redraw();
  });

  function move(dx, dy) {
    const [rows, cols] = grid(), l = layout();
    if (decoding() && now.way === "reads") {
      now.frame = clamp(now.frame + dx, 0, l.frames - 1);
      now.part = (now.part + dy + l.parts.length) % l.parts.length;
      return;
    }
    const name = decoding() ? "key" : "patch", at = now[name] < rows * cols ? now[name] : 0;
    now[name] = clamp(Math.floor(at / cols) + dy, 0, rows - 1) * cols + clamp((at % cols) + dx, 0, cols - 1);
  }
  root.addEventListener("keydown", (event) => {
    keepKeys(event);
    if (event.key === "Escape" && now.pinned) { // the panel stops a run at Escape: not this one
      now.pinned = false;
      event.stopPropagation();
      return draw();
    }
    if (event.target !== left.node || !facts().layers || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = { ArrowLeft: () => move(-1, 0), ArrowRight: () => move(1, 0), ArrowUp: () => move(0, -1), ArrowDown: () => move(0, 1), Enter: () => (now.pinned = !now.pinned), " ": () => (now.pinned = !now.pinned) }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
    draw();
  });

  // ---- what comes from Python
  function take() {
    const data = model.get("data"), block = model.get("block");
    if (data.run !== run) [run, known, waiting] = [data.run, new Map(), null];
    if (block.maps && block.run === run) keep(block, block.step);
    draw();
  }

  const stop = listen(model, {
    ...Object.fromEntries(["data", "block", "picture", "frames"].map((name) => [`change:${name}`, oncePerFrame(take)])),
    ...Object.fromEntries(["source", "layer", "head", "step"].map((name) => [`change:${name}`, redraw])),
    "msg:custom": answered,
  });
  el.append(root);
  run = undefined;
  take();
  return () => {
    closed = true;
    stop();
    left.close();
    right.close();
    for (const image of film.querySelectorAll("img")) URL.revokeObjectURL(image.src);
  };
}

export default { render };
