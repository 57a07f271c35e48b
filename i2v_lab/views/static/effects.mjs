// What each extension did: intervals on a line, sentences, and cost against quality.

const MARKERS = { // of baselines, around 0
  cross: "M-5 -5L5 5M5 -5L-5 5", square: "M-5 -5H5V5H-5Z", triangle: "M0 -6L6 5H-6Z", plus: "M-6 0H6M0 -6V6", kite: "M0 -7L5 0L0 7L-5 0Z", bar: "M-6 0H6", corner: "M0 6L6 -5H-6Z",
};
const write = (at, text, attributes = {}) => shape("text", { x: at[0], y: at[1], ...attributes }, text);

function render({ model, el }) {
  const metrics = groupedPicker("Effects on", (v) => setTrait(model, "metric", v));
  const about = element("p", { class: "i2v-caption" });
  const forest = shape("svg", { role: "img" }), forestTable = hiddenTable("Effects");
  const key = element("div", { class: "i2v-effects-key", "aria-hidden": "true" });
  const sentences = element("ul", { class: "i2v-effects-sentences" });
  const costs = picker("Cost", (v) => setTrait(model, "cost", v)), qualities = picker("Quality", (v) => setTrait(model, "quality", v));
  const scatter = shape("svg", { role: "img" }), scatterTable = hiddenTable("Cost and quality"), scatterNote = element("p", { class: "i2v-caption" });
  const problem = element("p", { class: "i2v-effects-problem" });
  const chart = element("section", { class: "i2v-effects-chart" }, element("div", { class: "i2v-effects-bar" }, metrics.node), about, element("div", { class: "i2v-effects-plot" }, forest), key, forestTable.node);
  const words = element("section", {}, element("h4", {}, "In words"), sentences);
  const pareto = element("section", { class: "i2v-pareto" }, element("div", { class: "i2v-effects-bar" }, element("h4", {}, "Cost against quality"), costs.node, qualities.node),
    element("div", { class: "i2v-effects-plot" }, scatter), scatterNote, scatterTable.node);
  const root = element("div", { class: "i2v i2v-study i2v-effects", role: "group", "aria-label": "Effects" }, problem, chart, words, pareto);
  const verdict = (e) => (e.mean == null ? "not known" : e.same ? "no change" : !e.clear ? "no clear effect" : e.good == null ? "clear" : e.good ? "better" : "worse");

  // ---- intervals
  function drawForest(data, chosen) {
    const rows = data.effects.filter((e) => e.metric === chosen.name && e.mean != null);
    const unit = rows[0]?.unit ?? chosen.unit;
    about.textContent = rows.length ? `${capital(chosen.about)}. With minus without${unit ? `, ${unit}` : ""}${chosen.better ? `; ${chosen.better} is better` : ""}. The line is the ${100 * data.confidence} % interval.`
      : `${capital(chosen.about)}. It is known for no pair of clips.`;
    const W = Math.max(320, forest.parentNode.clientWidth), narrow = W < 640, high = narrow ? 42 : 30;
    const left = narrow ? 8 : Math.min(260, Math.max(120, 20 + 7 * Math.max(0, ...rows.map((e) => e.name.length)))), right = narrow ? 8 : 236;
    const H = rows.length * high + 34;
    const ends = rows.flatMap((e) => [e.low ?? e.mean, e.high ?? e.mean]);
    let [low, top] = [Math.min(0, ...ends), Math.max(0, ...ends)];
    if (top - low < 1e-9) [low, top] = [-1, 1];
    const room = 0.06 * (top - low);
    [low, top] = [low - room, top + room];
    const x = (v) => left + ((v - low) / (top - low)) * (W - left - right), bottom = rows.length * high + 6;
    const marks = marksBetween(low, top, narrow ? 4 : 6);
    const parts = marks.flatMap((v) => [shape("path", { class: v === 0 ? "i2v-zero" : "i2v-rule", d: `M${x(v)} 4V${bottom}` }), write([x(v), bottom + 15], three(v), { "text-anchor": "middle", class: "i2v-tick" })]);
    rows.forEach((e, k) => {
      const y = 4 + (k + 0.5) * high + (narrow ? 8 : 0), kind = e.clear ? (e.good == null ? "neither" : e.good ? "better" : "worse") : "unclear";
      const line = shape("g", { class: `i2v-effect i2v-${kind}`, "data-effect": e.name }, shape("title", {}, `${e.text} (${verdict(e)})`));
      if (k) line.append(shape("path", { class: "i2v-rule i2v-faint", d: `M0 ${4 + k * high}H${W}` }));
      line.append(narrow ? write([left, y - 10], e.name, { class: "i2v-who" }) : write([left - 14, y + 4], e.name, { "text-anchor": "end", class: "i2v-who" }));
      if (e.low != null) line.append(shape("path", { class: "i2v-interval", d: `M${x(e.low)} ${y}H${x(e.high)}M${x(e.low)} ${y - 4}v8M${x(e.high)} ${y - 4}v8` }));
      line.append(e.extensions.length > 1 ? shape("path", { class: "i2v-point", d: `M${x(e.mean)} ${y - 6}l6 6l-6 6l-6 -6Z` }) : shape("circle", { class: "i2v-point", cx: x(e.mean), cy: y, r: 5 }));
      line.append(write(narrow ? [W - 8, y - 10] : [W - right + 14, y + 4], e.same ? e.said : `${e.said}, ${verdict(e)}`, { class: "i2v-said", "text-anchor": narrow ? "end" : "start" }));
      parts.push(line);
    });
    if (rows.length && chosen.better) parts.push(write(chosen.better === "lower" ? [left, H - 1] : [W - right, H - 1], chosen.better === "lower" ? "\u2190 better" : "better \u2192", { class: "i2v-tick", "text-anchor": chosen.better === "lower" ? "start" : "end" }));
    forest.setAttribute("viewBox", `0 0 ${W} ${H + 4}`);
    forest.setAttribute("height", H + 4);
    forest.setAttribute("aria-label", `Effects on ${chosen.label}: ${rows.map((e) => e.text).join("; ")}`);
    forest.replaceChildren(...(rows.length ? parts : []));
    forest.style.display = rows.length ? "" : "none";
    key.hidden = !rows.length;
    forestTable.fill(["extension", "mean", "low", "high", "unit", "verdict", "blocks"], rows.map((e) => [e.name, e.mean, e.low ?? "not known", e.high ?? "not known", e.unit, verdict(e), e.blocks]));
  }

  const sign = (kind, name, two = false) => {
    const svg = shape("svg", { viewBox: "-10 -8 20 16", width: 20, height: 16, class: `i2v-effect i2v-${kind}` }, two ? shape("path", { class: "i2v-point", d: "M0 -6l6 6l-6 6l-6 -6Z" }) : shape("circle", { class: "i2v-point", r: 5 }));
    return element("span", {}, svg, name);
  };
  key.append(sign("better", "clear, better"), sign("worse", "clear, worse"), sign("neither", "clear, neither is better"), sign("unclear", "not clear"), sign("unclear", "two together, beyond what each does", true));

  // ---- cost against quality
  function drawPareto(data) {
    const found = data.pareto[`${model.get("cost")} ${model.get("quality")}`];
    const [cost, quality] = [data.metrics.find((m) => m.name === model.get("cost")), data.metrics.find((m) => m.name === model.get("quality"))];
    const points = found?.points || [];
    scatterNote.textContent = found?.problem ? `${capital(found.problem)}.` : points.length ? `Means over ${Math.max(...points.filter((p) => !p.baseline).map((p) => p.clips))} clips of each mix, the same pictures, prompts and seeds for all. ${capital(cost.label)}: less is better; ${quality.label}: ${quality.better} is better. On the line: no other mix is both cheaper and better.` : "";
    scatter.style.display = points.length ? "" : "none";
    scatterTable.fill(["mix", cost?.label, quality?.label, "frontier"], points.map((p) => [p.name, told(p.cost, cost.unit), told(p.quality, quality.unit), p.frontier ? "yes" : "no"]));
    if (!points.length) return;
    const W = Math.max(320, scatter.parentNode.clientWidth), H = 320, left = 72, right = 24, bottom = 44, high = 14;
    const span = (values) => {
      const [a, b] = [Math.min(...values), Math.max(...values)], room = 0.08 * (b - a) || 0.08 * Math.abs(a) || 1;
      return [a - room, b + room];
    };
    const [x0, x1] = span(points.map((p) => p.cost)), [y0, y1] = span(points.map((p) => p.quality)), flip = quality.better === "lower";
    const x = (v) => left + ((v - x0) / (x1 - x0)) * (W - left - right);
    const y = (v) => { const s = (v - y0) / (y1 - y0); return high + (flip ? s : 1 - s) * (H - bottom - high); };
    const marksOf = (low, top, unit, n) => (unit === "bytes" ? marksBetween(low / 2 ** 20, top / 2 ** 20, n).map((v) => v * 2 ** 20) : marksBetween(low, top, n));
    const exact = (marks, unit) => marks.map((v) => (unit === "bytes" ? `${+(v / 2 ** 20).toPrecision(6)} MiB` : unit === "operations" ? counted(v) : unit === "s" ? `${+v.toPrecision(6)} s` : `${+v.toPrecision(6)}`));
    const xs = marksOf(x0, x1, cost.unit, W < 560 ? 3 : 6), ys = marksOf(y0, y1, quality.unit, 5);
    const parts = [];
    exact(xs, cost.unit).forEach((text, k) => parts.push(shape("path", { class: "i2v-rule", d: `M${x(xs[k])} ${high}V${H - bottom}` }), write([x(xs[k]), H - bottom + 16], text, { class: "i2v-tick", "text-anchor": "middle" })));
    exact(ys, quality.unit).forEach((text, k) => parts.push(shape("path", { class: "i2v-rule", d: `M${left} ${y(ys[k])}H${W - right}` }), write([left - 8, y(ys[k]) + 4], text, { class: "i2v-tick", "text-anchor": "end" })));
    parts.push(write([(left + W - right) / 2, H - 4], `${cost.label} (less is better)`, { "text-anchor": "middle" }));
    parts.push(write([0, 0], `${quality.label} (${quality.better} is better)`, { "text-anchor": "middle", transform: `translate(13 ${(high + H - bottom) / 2}) rotate(-90)` }));
    const front = points.filter((p) => p.frontier).sort((a, b) => a.cost - b.cost);
    parts.push(shape("path", { class: "i2v-frontier", d: front.map((p, k) => (k ? `H${x(p.cost)}V${y(p.quality)}` : `M${x(p.cost)} ${y(p.quality)}`)).join("") }));
    const kinds = Object.values(MARKERS), taken = [];
    let n = 0;
    // A name is put where it lies upon no other, at the right of its point or the left; else the title has it.
    const labelled = (p) => {
      const wide = 6.3 * p.name.length + 12;
      for (const [dx, dy] of [[9, 4], [9, 17], [9, -9], [-9, 4], [-9, 17], [-9, -9], [9, 30], [9, -22], [-9, 30], [-9, -22]]) {
        const at = [x(p.cost) + dx, y(p.quality) + dy], start = dx > 0 ? at[0] : at[0] - wide;
        const own = [start, at[1] - 11, start + wide, at[1] + 2];
        if (own[0] < left || own[2] > W - 2 || own[1] < 0 || own[3] > H - bottom) continue;
        if (taken.some((b) => own[0] < b[2] && own[2] > b[0] && own[1] < b[3] && own[3] > b[1])) continue;
        taken.push(own);
        return write(at, p.name, { "text-anchor": dx > 0 ? "start" : "end", class: "i2v-who" });
      }
      return null;
    };
    points.forEach((p) => taken.push([x(p.cost) - 6, y(p.quality) - 6, x(p.cost) + 6, y(p.quality) + 6]));
    for (const p of [...points].sort((a, b) => b.frontier - a.frontier)) {
      const at = `translate(${x(p.cost)} ${y(p.quality)})`;
      const mark = p.baseline ? shape("path", { d: kinds[n++ % kinds.length], transform: at, class: "i2v-baseline" }) : shape("circle", { r: 5.5, transform: at, class: p.frontier ? "i2v-on" : "i2v-off" });
      const name = labelled(p);
      parts.push(shape("g", { "data-mix": p.name }, shape("title", {}, `${p.name}: ${cost.label} ${told(p.cost, cost.unit)}, ${quality.label} ${told(p.quality, quality.unit)}`), mark, ...(name ? [name] : [])));
    }
    scatter.setAttribute("viewBox", `0 0 ${W} ${H}`);
    scatter.setAttribute("height", H);
    scatter.setAttribute("aria-label", `${cost.label} against ${quality.label}; on the frontier: ${front.map((p) => p.name).join(", ")}`);
    scatter.replaceChildren(...parts);
  }

  function draw() {
    const data = model.get("data") || {};
    problem.textContent = data.problem ? `${capital(data.problem)}.` : data.metrics ? "" : "Effects are shown when clips are there.";
    problem.hidden = !problem.textContent;
    chart.hidden = words.hidden = !(data.effects || []).length;
    pareto.hidden = !Object.keys(data.pareto || {}).length;
    if (!chart.hidden) {
      const clear = data.metrics.filter((m) => data.effects.some((e) => e.metric === m.name && e.clear));
      const known = data.metrics.filter((m) => !clear.includes(m) && data.effects.some((e) => e.metric === m.name && e.mean != null));
      const chosen = data.metrics.find((m) => m.name === model.get("metric")) || data.metrics.find((m) => m.name === "as_asked" && [...clear, ...known].includes(m)) || clear[0] || known[0];
      const options = (list) => list.map((m) => [m.name, m.label]);
      metrics.fill([["clear effects", options(clear)], ["no clear effect", options(known)]], chosen.name);
      drawForest(data, chosen);
      sentences.replaceChildren(...data.sentences.map((text) => {
        const [who, ...rest] = text.split(": ");
        return element("li", {}, element("b", {}, who), `: ${rest.join(": ")}`);
      }));
    }
    if (!pareto.hidden) {
      const named = (list) => list.map((name) => [name, data.metrics.find((m) => m.name === name).label]);
      costs.fill(named(data.costs), model.get("cost"));
      qualities.fill(named(data.qualities), model.get("quality"));
      drawPareto(data);
    }
  }

  const again = oncePerFrame(draw);
  const stop = listen(model, { "change:data": draw, "change:metric": draw, "change:cost": draw, "change:quality": draw });
  const observer = new ResizeObserver(again);
  observer.observe(root);
  el.append(root);
  draw();
  return () => {
    stop();
    observer.disconnect();
  };
}

export default { initialize, render };
