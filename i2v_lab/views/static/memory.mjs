// What the stages and steps take.

const PARTS = [["weights", "weights_bytes"], ["activations", "peak_bytes"], ["caches", "cache_bytes"]];
const STAGES = ["encode_image", "encode_prompt", "condition", "denoise", "decode"];

function stepChart(label, unit) {
  let wide = 320; // the last width in sight: there is none while the page changes its theme
  const svg = shape("svg", { role: "img" }), node = element("div", { class: "i2v-steps" }, element("h4", {}, `${label}, ${unit}`), svg);
  return {
    node,
    draw(points, of, format) { // [[step, value]]
      const width = (wide = Math.max(160, node.clientWidth || wide)), height = 116, left = 44, bottom = 30, top = 8, right = 10;
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      svg.setAttribute("height", height);
      const best = points.reduce((b, p) => (p[1] > b[1] ? p : b), [0, 0]), marks = ticks(best[1], 3), high = marks[marks.length - 1];
      const x = (step) => left + ((step - 0.5) / Math.max(1, of)) * (width - left - right), y = (v) => height - bottom - (v / high) * (height - bottom - top);
      const text = (at, body, anchor) => shape("text", { ...at, "text-anchor": anchor }, body);
      const parts = marks.flatMap((v) => [shape("path", { class: "i2v-rule", d: `M${left} ${y(v)}H${width - right}` }), text({ x: left - 6, y: y(v) + 4 }, points.length ? String(v) : "", "end")]);
      const every = Math.max(1, Math.ceil((of || 1) / Math.max(2, Math.floor((width - left) / 34))));
      for (let s = 1; s <= (of || 0); s += every) parts.push(text({ x: x(s), y: height - 16 }, String(s), "middle"));
      parts.push(text({ x: (left + width - right) / 2, y: height - 3 }, "step", "middle"));
      const runs = points.reduce((all, p) => (all.length && all.at(-1).at(-1)[0] === p[0] - 1 ? all.at(-1).push(p) : all.push([p]), all), []);
      for (const run of runs) if (run.length > 1) parts.push(shape("polyline", { class: "i2v-curve", points: run.map(([s, v]) => `${x(s)},${y(v)}`).join(" ") })); // steps that were not measured are gaps
      for (const [s, v] of points) parts.push(shape("circle", { class: "i2v-dot", cx: x(s), cy: y(v), r: points.length > 40 ? 1.5 : 3 }, shape("title", {}, `step ${s}: ${format(v)}`)));
      svg.replaceChildren(...parts);
      svg.setAttribute("aria-label", points.length ? `${label}: highest ${format(best[1])} at step ${best[0]}, last ${format(points[points.length - 1][1])}` : `${label}: nothing yet`);
    },
  };
}

function render({ model, el }) {
  const legend = element("div", { class: "i2v-legend" },
    ...[...PARTS.map(([name]) => name), "numpy"].map((name) => element("span", {}, element("i", { class: `i2v-swatch i2v-${name}` }), name === "numpy" ? "numpy (another allocator, on its own)" : name)));
  const chart = element("div", { class: "i2v-stages", "aria-hidden": "true" });
  const peaks = stepChart("Activations by step", "MiB"), times = stepChart("Time by step", "ms");
  const caption = element("p", { class: "i2v-caption" });
  const table = hiddenTable("Memory and time by stage");
  const root = element("div", { class: "i2v i2v-inspector i2v-memory", role: "group", "aria-label": "Memory" },
    element("h4", {}, "Memory at the peak of each stage"), legend, chart,
    element("div", { class: "i2v-pair" }, peaks.node, times.node), caption, table.node);

  function draw() {
    const data = model.get("data"), found = data.stages || [], there = found.length > 0;
    const names = found.every((r) => STAGES.includes(r.stage)) ? STAGES : found.map((r) => r.stage);
    const total = (row) => PARTS.reduce((sum, [, key]) => sum + row[key], 0);
    const marks = ticks(Math.max(0, ...found.map((r) => Math.max(total(r), r.numpy_bytes || 0))) / 2 ** 20, 5), high = marks[marks.length - 1] * 2 ** 20;
    const rows = names.map((name) => {
      const row = found.find((r) => r.stage === name);
      const bar = (kind, bytes) => {
        const b = element("b", { class: `i2v-${kind}`, title: `${name}, ${kind}: ${mib(bytes)} MiB` });
        b.style.width = `${(100 * bytes) / high}%`;
        return b;
      };
      return element("div", { class: "i2v-stage" },
        element("span", { class: "i2v-stage-name" }, name),
        element("span", { class: "i2v-stage-bars" },
          element("span", {}, ...(row ? PARTS.map(([kind, key]) => bar(kind, row[key])) : [])),
          element("span", {}, row?.numpy_bytes ? bar("numpy", row.numpy_bytes) : null)),
        element("span", { class: "i2v-stage-value" }, row ? `${mib(total(row))} MiB` : "\u2013"),
        element("span", { class: "i2v-stage-value" }, row ? seconds(row.seconds) : "\u2013"));
    });
    const axis = marks.map((v) => {
      const tick = element("span", {}, there ? String(v) : "");
      tick.style.left = `${(100 * v * 2 ** 20) / high}%`;
      return tick;
    });
    chart.replaceChildren(...rows, element("div", { class: "i2v-stage-axis" }, element("span", {}, ...axis), element("em", {}, "MiB")));
    const steps = data.steps || [];
    peaks.draw(steps.filter((s) => s.peak != null).map((s) => [s.step, s.peak / 2 ** 20]), data.of || 0, (v) => `${v.toFixed(2)} MiB`);
    times.draw(steps.map((s) => [s.step, 1000 * s.seconds]), data.of || 0, (v) => `${v.toFixed(0)} ms`);
    const measured = steps.filter((s) => s.peak != null).map((s) => s.step), some = measured.length < steps.length;
    const list = (of) => Object.entries(of || {}).map(([name, bytes]) => `${name} ${mib(bytes)}`).join(", ");
    caption.textContent = !there ? "Where the memory goes, and the time. Press Generate."
      : `On ${data.device}. ${some ? `Activations were measured at steps ${measured.join(", ")}. ` : ""}What the other tabs keep of a run is among them. Weights, MiB: ${list(data.weights) || "none"}.${list(data.cache) ? ` Kept by extensions, MiB: ${list(data.cache)}.` : ""}`;
    table.fill(["stage", "weights, MiB", "activations, MiB", "caches, MiB", "numpy, MiB", "seconds"],
      found.map((r) => [r.stage, ...PARTS.map(([, key]) => mib(r[key])), r.numpy_bytes == null ? "not measured" : mib(r.numpy_bytes), r.seconds.toFixed(3)]));
  }

  const stop = listen(model, { "change:data": draw });
  const observer = new ResizeObserver(oncePerFrame(draw));
  observer.observe(root);
  el.append(root);
  draw();
  return () => {
    stop();
    observer.disconnect();
  };
}

export default { initialize, render };
