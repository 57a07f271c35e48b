// Every clip of a study, in step.

const RATES = [1, 2, 4, 8, 12, 16, 24, 30];
const CELLS = { small: 124, medium: 168, large: 248 }; // CSS pixels
const GAP = "\u2009\u00b7\u2009";

// A film is one picture that holds all frames of a clip side by side.
const placeOf = (film, t) => {
  const k = Math.min(t, film.frames - 1);
  return [(k % film.across) * film.step[0], Math.floor(k / film.across) * film.step[1]];
};

// The grey levels of a picture that is decoded already.
function greyOf(bitmap) {
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height).data.filter((_, i) => i % 4 === 0);
}

function render({ model, el }) {
  let data = {}, frame = model.get("frame"), playing = false, speed = 8, closed = false;
  const cells = new Map(); // by row and mix; a cell stays when data come anew
  const films = new Map(); // by key: what came from Python
  const asked = new Set(); // keys on their way
  const sight = new Set(); // cells on the screen
  const chosen = { picture: "", prompt: "", text: "", rows: "", columns: "", size: "medium" };

  // ---- what stands around the clips
  const play = iconButton("play", "Play", () => setPlaying(!playing));
  const scrubber = element("input", { type: "range", class: "i2v-wall-scrubber", min: 0, max: 0, step: 1, value: 0, "aria-label": "Frame of all clips", oninput: () => go(+scrubber.value) });
  const count = element("span", { class: "i2v-wall-count" });
  const rate = element("select", { class: "i2v-select", "aria-label": "Frames per second", title: "Frames per second", onchange: () => (speed = +rate.value) });
  const toggle = (trait, name, title, sign) => element("button", { type: "button", class: sign ? "i2v-button i2v-icon" : "i2v-button i2v-outlined", "aria-label": name, title,
    onclick: () => setTrait(model, trait, !model.get(trait)) }, sign ? icon(sign) : null, sign ? null : element("span", {}, name));
  const loop = toggle("loop", "Loop", "Loop", "loop");
  const differ = toggle("difference", "Difference to nothing on", "Show where each clip differs from the one with nothing on");
  const baselines = toggle("baselines", "Baselines", "Show the baselines: still picture, slow zoom, exact move, fewer steps");
  const pictures = picker("Picture", (v) => choose("picture", v)), prompts = picker("Prompt", (v) => choose("prompt", v));
  const search = element("input", { type: "search", class: "i2v-input i2v-wall-search", placeholder: "Find", "aria-label": "Find a picture, a prompt or an action", oninput: () => choose("text", search.value) });
  const metrics = picker("Metric", (v) => setTrait(model, "metric", v));
  const byRows = picker("Rows", (v) => choose("rows", v)), byColumns = picker("Columns", (v) => choose("columns", v));
  const sizes = picker("Size", (v) => choose("size", v));
  const legend = element("span", { class: "i2v-wall-scale", hidden: true }, element("span", {}, "0"), element("b"), element("span"));
  legend.children[1].style.background = CIVIDIS_CSS;
  const note = element("p", { class: "i2v-wall-note", "aria-live": "polite" });
  const head = element("thead"), body = element("tbody");
  const table = element("table", { class: "i2v-wall-table" }, element("caption", { class: "i2v-hidden" }, "Clips: a row for each picture and prompt, a column for each mix"), head, body);
  const box = element("div", { class: "i2v-wall-box", tabindex: 0, role: "region", "aria-label": "Clips: Space plays, arrow keys step, Enter opens a clip" }, table);
  const details = element("section", { class: "i2v-wall-details", "aria-label": "The chosen clip", hidden: true });
  const root = element("div", { class: "i2v i2v-study i2v-wall", role: "group", "aria-label": "Wall" },
    element("div", { class: "i2v-wall-bar" }, play, scrubber, count, rate, loop, differ, baselines),
    element("div", { class: "i2v-wall-bar i2v-wall-filters" }, pictures.node, prompts.node, search, metrics.node, byRows.node, byColumns.node, sizes.node),
    box, element("div", { class: "i2v-wall-foot" }, note, legend), details);

  const total = () => Math.max(0, ...[...films.values()].map((film) => film.frames || 0));
  const metric = () => (data.metrics || []).find((m) => m.name === model.get("metric")) || (data.metrics || [])[0];
  const infoOf = (r, c) => (data.at || new Map()).get(`${r} ${c}`);
  const valueOf = (r, c) => infoOf(r, c)?.values?.[metric()?.name] ?? null;

  // ---- order
  function mean(values) {
    const known = values.filter((v) => v != null);
    return { n: known.length, mean: known.length ? known.reduce((a, b) => a + b, 0) / known.length : null };
  }

  function sorted(indices, score) { // the better ones first; what has no value last; else as it was
    const sign = metric()?.better === "lower" ? 1 : -1;
    const key = (i) => (score(i) == null ? Infinity : sign * score(i));
    return indices.map((i) => [key(i), i]).sort((a, b) => (a[0] === b[0] ? a[1] - b[1] : a[0] - b[0])).map(([, i]) => i);
  }

  function shown() {
    const words = chosen.text.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (row) => (!chosen.picture || row.image === chosen.picture) && (!chosen.prompt || row.prompt === chosen.prompt)
      && words.every((word) => `${row.name} ${row.image} ${row.prompt} ${row.asked || ""}`.toLowerCase().includes(word));
    let rows = [...(data.rows || []).keys()].filter((r) => fits(data.rows[r]));
    const all = [...(data.columns || []).keys()], plain = all.filter((c) => !data.columns[c].baseline);
    if (chosen.rows) rows = sorted(rows, (r) => mean(plain.map((c) => valueOf(r, c))).mean);
    let rest = plain.filter((c) => data.columns[c].mix !== "");
    if (chosen.columns) rest = sorted(rest, (c) => mean(rows.map((r) => valueOf(r, c))).mean);
    const ends = model.get("baselines") ? all.filter((c) => data.columns[c].baseline) : [];
    return { rows, columns: [...plain.filter((c) => data.columns[c].mix === ""), ...rest, ...ends] };
  }

  // ---- cells
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const cell = target.cell;
      if (isIntersecting) sight.add(cell);
      else if (sight.delete(cell)) rest(cell);
    }
    want();
  }, { rootMargin: "160px" });

  function cellOf(r, c) {
    const id = `${data.rows[r].id} ${data.columns[c].mix}`;
    if (!cells.has(id)) {
      const canvas = element("canvas", { "aria-hidden": "true" }), over = element("span", { class: "i2v-wall-over" });
      const verdict = element("span", { class: "i2v-wall-verdict" }), facts = element("span", { class: "i2v-wall-facts" });
      const node = element("button", { type: "button", class: "i2v-wall-cell", onclick: () => pick(node.cell.info) },
        element("span", { class: "i2v-wall-picture" }, canvas, over), verdict, facts);
      node.cell = { node, canvas, over, verdict, facts, info: null, bitmap: null, grey: null, busy: false };
      cells.set(id, node.cell);
      seen.observe(node);
    }
    const cell = cells.get(id);
    [cell.info, cell.row, cell.column] = [infoOf(r, c), data.rows[r], data.columns[c]];
    caption(cell);
    return cell;
  }

  function caption(cell) {
    const { info, row, column, node } = cell, m = metric(), done = info?.state === "done";
    const name = `${column.name}, ${row.name}, ${row.prompt}${data.seeds > 1 ? `, seed ${row.seed}` : ""}`;
    const mark = !done || info.ok == null ? "" : info.ok ? "\u2713" : "\u2717";
    const words = { failed: "could not be made", waiting: "not made yet", none: "there is none" }[info?.state ?? "none"];
    node.disabled = !info || info.state === "none";
    node.dataset.state = info?.state ?? "none";
    node.dataset.ok = done ? String(info.ok) : "";
    node.setAttribute("aria-pressed", String(Boolean(info) && model.get("picked") === info.key));
    cell.verdict.replaceChildren(...(done ? [element("i", { "aria-hidden": "true" }, mark), info.judged ?? "no verdict"] : [words]));
    cell.verdict.title = done ? (info.ok == null ? `the judge sees ${info.judged}` : `asked: ${info.asked}; the judge sees ${info.judged}`) : info?.why ?? words;
    const film = films.get(info?.key), differing = model.get("difference") && column.mix !== "" && film?.difference;
    const own = m && m.name !== "seconds" && m.name !== "as_asked" ? told(info?.values?.[m.name], m.unit, true) : null;
    const facts = !done ? [] : differing ? [film.same ? "the same" : `max ${film.difference.largest}`, film.same ? "" : `mean ${three(film.difference.mean)}`]
      : [told(info.values.seconds, "s"), own].filter((v, k) => v != null && (k || info.values.seconds != null));
    cell.facts.textContent = facts.filter(Boolean).join(GAP) || "\u00a0";
    const verdict = done ? `judged ${info.judged}${info.ok == null ? "" : info.ok ? ", as asked" : `, asked was ${info.asked}`}` : words;
    node.setAttribute("aria-label", `${name}: ${verdict}${done && own ? `, ${m.label} ${own}` : ""}`);
    if (cell.over.dataset.of !== "film") cell.over.textContent = done ? "" : info?.state === "failed" ? info.why : words;
  }

  function placed(cell) { // the size of its picture
    const wide = CELLS[chosen.size], [h, w] = cell.row.size;
    return h <= w ? [wide, Math.round((wide * h) / w)] : [Math.round((wide * w) / h), wide];
  }

  function want() { // ask for the films of the cells in sight, a row at a time
    const rows = new Map();
    for (const cell of sight) {
      const key = cell.info?.state === "done" && cell.info.key;
      if (!key) continue;
      if (films.has(key)) wake(cell);
      else if (!asked.has(key)) rows.set(cell.row.id, [...(rows.get(cell.row.id) || []), key]);
    }
    for (const keys of rows.values()) {
      keys.forEach((key) => asked.add(key));
      model.send({ films: keys });
    }
  }

  async function wake(cell) { // decode what is looked at
    const film = films.get(cell.info.key);
    if (cell.bitmap || cell.busy || !film?.file) return draw(cell);
    cell.busy = true;
    const [bitmap, map] = await Promise.all([film.file, film.map].map((file) => (file ? createImageBitmap(file).catch(() => null) : null)));
    cell.busy = false;
    if (closed || !sight.has(cell)) return bitmap?.close();
    cell.bitmap = bitmap;
    if (map) {
      cell.grey = { data: greyOf(map), width: map.width };
      map.close();
    }
    cell.canvas.dataset.ready = "true";
    draw(cell);
  }

  function rest(cell) {
    cell.bitmap?.close();
    cell.bitmap = cell.grey = null;
  }

  // ---- drawing: only what is in sight
  function scale() { // what the brightest colour stands for: the same for all clips on the wall
    let top = 0;
    const { rows, columns } = shown();
    for (const r of rows) for (const c of columns) top = Math.max(top, films.get(infoOf(r, c)?.key)?.difference?.top ?? 0);
    return top;
  }
  let top = 0;

  function over(cell, text) {
    cell.over.textContent = text;
    cell.over.dataset.of = text ? "film" : "";
  }

  function draw(cell) {
    const film = films.get(cell.info?.key);
    if (!film) return;
    if (film.problem) return over(cell, film.problem);
    const [w, h] = placed(cell), differing = model.get("difference") && cell.column.mix !== "";
    const empty = differing && (!film.difference || film.difference.largest === 0);
    over(cell, !differing ? "" : !film.difference ? "nothing to compare with" : film.same ? "identical" : empty ? "no difference in the videos" : "");
    cell.node.classList.toggle("i2v-wall-dim", Boolean(empty));
    if (!cell.bitmap) return;
    const context = fitCanvas(cell.canvas, w, h);
    if (!differing || empty) {
      const [x, y] = placeOf(film, frame);
      return context.drawImage(cell.bitmap, x, y, film.width, film.height, 0, 0, w, h);
    }
    if (!cell.grey) return;
    const map = film.difference, [x, y] = placeOf(map, frame), image = new ImageData(map.width, map.height), out = image.data;
    for (let j = 0, k = 0; j < map.height; j++) for (let i = 0; i < map.width; i++, k += 4) {
      const level = (cell.grey.data[(y + j) * cell.grey.width + x + i] / 255) * (map.top / top);
      const colour = CIVIDIS[Math.min(255, Math.round(255 * Math.sqrt(level))) || 0];
      [out[k], out[k + 1], out[k + 2], out[k + 3]] = [colour[0], colour[1], colour[2], 255];
    }
    const small = new OffscreenCanvas(map.width, map.height);
    small.getContext("2d").putImageData(image, 0, 0);
    context.drawImage(small, 0, 0, w, h);
  }

  function drawAll() {
    top = model.get("difference") ? scale() : 0;
    for (const cell of sight) draw(cell);
    const place = `frame ${frame + 1} of ${total()}`;
    if (+scrubber.value !== frame) scrubber.value = frame;
    scrubber.setAttribute("aria-valuetext", place);
    count.textContent = total() ? `frame ${frame + 1} / ${total()}` : "";
  }
  const redraw = oncePerFrame(drawAll);

  function settleLegend() {
    const on = model.get("difference"), most = scale();
    legend.hidden = !on || !most;
    legend.lastChild.textContent = `${three(most)} of 255; ${three(most / 4)} in the middle`;
    legend.title = "Largest difference of the three colours, mean over the pixels of a place, in the videos as they are saved: one scale for all clips";
  }

  // ---- the table
  function arrange() {
    const { rows, columns } = shown(), m = metric();
    const th = (c) => {
      const column = data.columns[c], { n, mean: middle } = mean(rows.map((r) => valueOf(r, c)));
      return element("th", { scope: "col", class: column.baseline ? "i2v-wall-baseline" : null, title: column.mix || "no extension is on" },
        element("span", { class: "i2v-wall-name" }, ...column.name.split("+").flatMap((part, k) => (k ? [" + ", element("wbr"), part] : [part]))),
        element("span", { class: "i2v-wall-mean" }, m && n ? `${column.baseline ? "baseline, " : ""}mean ${told(middle, m.unit, true)}` : column.baseline ? "baseline" : "\u00a0"));
    };
    head.replaceChildren(element("tr", {}, element("td", { class: "i2v-wall-corner" }, m ? m.label : ""), ...columns.map(th)));
    const lines = rows.map((r) => {
      const row = data.rows[r];
      return element("tr", {}, element("th", { scope: "row", title: row.image }, element("span", { class: "i2v-wall-name" }, row.name), element("q", {}, row.prompt),
        element("span", { class: "i2v-wall-mean" }, [row.asked ? `asked: ${row.asked}` : "", data.seeds > 1 ? `seed ${row.seed}` : ""].filter(Boolean).join(GAP))),
        ...columns.map((c) => {
          const cell = cellOf(r, c), [w, h] = placed(cell);
          cell.node.style.setProperty("--w", `${w}px`);
          cell.node.style.setProperty("--h", `${h}px`);
          return element("td", {}, cell.node);
        }));
    });
    body.replaceChildren(...lines);
    const made = (data.cells || []).filter((cell) => cell.state === "done").length, failed = (data.cells || []).filter((cell) => cell.state === "failed").length;
    const whole = (data.cells || []).filter((cell) => cell.state !== "none").length;
    const some = rows.length < (data.rows || []).length ? `${rows.length} of ${data.rows.length} rows; ` : "";
    note.textContent = !whole ? "No clip yet." : `${some}${made} of ${whole} clips made${failed ? `, ${failed} could not be made` : ""}.`;
    if (whole && !rows.length) note.textContent = "No row fits. " + note.textContent;
    settleLegend();
    redraw();
  }

  function choose(name, value) {
    chosen[name] = value;
    settle();
  }

  function settle() {
    const unique = (key, text) => [["", "all"], ...new Map((data.rows || []).map((row) => [row[key], row[text]]))];
    pictures.fill(unique("image", "name"), chosen.picture);
    prompts.fill(unique("prompt", "prompt"), chosen.prompt);
    const m = metric();
    metrics.fill((data.metrics || []).map((each) => [each.name, each.label]), m?.name ?? "");
    metrics.node.title = m ? `${m.about}${m.unit ? ` (${m.unit})` : ""}${m.better ? `; ${m.better} is better` : ""}` : "";
    const first = m?.better ? "best first" : "highest first";
    byRows.fill([["", "as made"], ["metric", first]], chosen.rows);
    byColumns.fill([["", "as made"], ["metric", first]], chosen.columns);
    sizes.fill(Object.keys(CELLS).map((name) => [name, name]), chosen.size);
    root.style.setProperty("--cell", `${CELLS[chosen.size]}px`);
    for (const [button, trait] of [[loop, "loop"], [differ, "difference"], [baselines, "baselines"]]) button.setAttribute("aria-pressed", model.get(trait));
    baselines.hidden = !(data.columns || []).some((column) => column.baseline);
    differ.disabled = !(data.columns || []).some((column) => column.mix === "");
    const many = total() > 1;
    play.disabled = scrubber.disabled = !many;
    scrubber.max = Math.max(0, total() - 1);
    arrange();
    explain();
  }

  // ---- the chosen clip
  function pick(info) {
    setTrait(model, "picked", model.get("picked") === info.key ? "" : info.key);
    if (!details.hidden) details.scrollIntoView({ block: "nearest", behavior: reducedMotion() ? "auto" : "smooth" });
  }

  function explain() {
    const info = (data.cells || []).find((cell) => cell.key === model.get("picked"));
    for (const cell of cells.values()) cell.node.setAttribute("aria-pressed", String(Boolean(cell.info) && cell.info.key === info?.key));
    details.hidden = !info;
    if (!info) return details.replaceChildren();
    const row = data.rows[info.row], column = data.columns[info.column];
    const nothing = (data.cells || []).find((cell) => cell.row === info.row && data.columns[cell.column].mix === "");
    const other = nothing && nothing.key !== info.key && nothing.state === "done";
    const line = (m) => element("tr", {}, element("th", { scope: "row", title: m.about }, m.label), element("td", {}, told(info.values?.[m.name], m.unit)),
      other ? element("td", {}, told(nothing.values[m.name], m.unit)) : null, element("td", {}, `${m.about}${m.better ? `; ${m.better} is better` : ""}`));
    const known = (data.metrics || []).filter((m) => info.values?.[m.name] != null || (other && nothing.values[m.name] != null));
    const close = element("button", { type: "button", class: "i2v-button i2v-outlined", onclick: () => setTrait(model, "picked", "") }, "Close");
    details.replaceChildren(
      element("div", { class: "i2v-wall-title" }, element("h4", {}, `${column.name}: ${row.name}, \u201c${row.prompt}\u201d, seed ${row.seed}`), close),
      element("p", {}, info.state === "done" ? `Asked: ${info.asked ?? "nobody said"}. The judge sees ${info.judged ?? "nothing it could name"}.` : info.why || "Not made yet."),
      element("dl", {}, ...Object.entries({ ...data.settings, ...(column.options || {}) }).flatMap(([key, value]) =>
        [element("dt", {}, key), element("dd", {}, typeof value === "object" && value ? Object.entries(value).map(([k, v]) => `${k} ${v}`).join(", ") || "no options" : String(value))])),
      known.length ? element("div", { class: "i2v-wall-figures" }, element("table", {}, element("thead", {}, element("tr", {}, ...["metric", "this clip", ...(other ? ["nothing on"] : []), "what it is"].map((h) => element("th", { scope: "col" }, h)))),
        element("tbody", {}, ...known.map(line)))) : "");
  }

  // ---- time: one clock for all
  const clock = ticker(() => speed, () => {
    if (frame < total() - 1) show(frame + 1);
    else if (model.get("loop")) show(0);
    else setPlaying(false);
  });

  function setPlaying(on) {
    playing = on && total() > 1;
    if (playing) {
      if (frame >= total() - 1) show(0);
      clock.start();
    } else {
      clock.stop();
      setTrait(model, "frame", frame);
    }
    setIcon(play, playing ? "pause" : "play", playing ? "Pause" : "Play");
    if (on === playing) setTrait(model, "playing", playing);
  }

  function show(t) {
    frame = clamp(t, 0, Math.max(0, total() - 1));
    drawAll();
  }

  function go(t) {
    if (playing) setPlaying(false);
    show(t);
    setTrait(model, "frame", frame);
  }

  function wish() {
    const on = model.get("playing");
    if (on === playing || (on && (reducedMotion() || total() < 2))) return;
    setPlaying(on);
  }

  root.addEventListener("keydown", (event) => {
    keepKeys(event);
    const { target, key } = event;
    if (event.key === "Escape" && model.get("picked")) return setTrait(model, "picked", "");
    if (event.ctrlKey || event.metaKey || event.altKey || target.matches("select, input[type=search]") || !total()) return;
    if (key === " " && target.matches("button:not(.i2v-wall-cell)")) return; // the button's own
    const act = { " ": () => setPlaying(!playing), ArrowLeft: () => go(frame - 1), ArrowRight: () => go(frame + 1), Home: () => go(0), End: () => go(total() - 1) }[key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  root.addEventListener("keyup", (event) => event.key === " " && event.target.matches(".i2v-wall-cell") && event.preventDefault());

  // ---- what comes from Python
  function take() {
    data = model.get("data") || {};
    data = { ...data, at: new Map((data.cells || []).map((cell) => [`${cell.row} ${cell.column}`, cell])) };
    const fresh = data.study !== take.study;
    if (fresh) { // another study
      take.study = data.study;
      for (const cell of cells.values()) {
        seen.unobserve(cell.node);
        rest(cell);
      }
      for (const store of [cells, films, asked, sight]) store.clear();
      Object.assign(chosen, { picture: "", prompt: "", text: "" });
      frame = 0;
    }
    if (data.fps && fresh) {
      speed = data.fps;
      rate.replaceChildren(...[...new Set([...RATES, speed])].sort((a, b) => a - b).map((each) => element("option", { value: each, selected: each === speed }, `${+each.toFixed(2)} fps`)));
    }
    settle();
    want();
  }

  function receive(message, buffers) {
    for (const film of message.films || []) {
      const part = (k) => (k == null ? null : blobOf(buffers[k]));
      films.set(film.key, { ...film, file: part(film.part), map: part(film.difference?.part) });
      asked.delete(film.key);
    }
    const few = play.disabled;
    play.disabled = scrubber.disabled = total() < 2;
    scrubber.max = Math.max(0, total() - 1);
    for (const cell of sight) if (message.films.some((film) => film.key === cell.info?.key)) {
      caption(cell);
      wake(cell);
    }
    settleLegend();
    redraw();
    if (few && model.get("playing") && !playing) wish();
  }

  const stop = listen(model, {
    "change:data": take,
    "change:picked": explain,
    "change:metric": settle,
    "change:baselines": settle,
    "change:difference": settle,
    "change:loop": settle,
    "change:playing": wish,
    "change:frame": () => !playing && model.get("frame") !== frame && show(model.get("frame")),
    "msg:custom": receive,
  });
  el.append(root);
  take();

  return () => {
    closed = true;
    clock.stop();
    stop();
    seen.disconnect();
    for (const cell of cells.values()) rest(cell);
  };
}

export default { initialize, render };
