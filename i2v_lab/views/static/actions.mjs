// Which action is believed in, and who decided.

const KINDS = { words: "words", picture: "picture", together: "both together" };
const DECIDERS = { user: "you", prompt: "the prompt", prior: "the prior" };

function render({ model, el }) {
  const badge = element("span", { class: "i2v-decider" }), decision = element("strong");
  const why = element("p", { class: "i2v-caption", "aria-live": "polite" });
  const legend = element("div", { class: "i2v-legend" });
  const chart = element("div", { class: "i2v-beliefs", "aria-hidden": "true" });
  const table = hiddenTable("Probability of each action");
  const root = element("div", { class: "i2v i2v-inspector i2v-actions", role: "group", "aria-label": "Actions" },
    element("div", { class: "i2v-decision" }, decision, badge), why, legend, chart, table.node);

  function draw() {
    const data = model.get("data"), beliefs = data.beliefs || {}, kinds = Object.keys(KINDS).filter((k) => beliefs[k]);
    const names = data.names || ["static", "walk", "run", "rotate", "zoom_in", "zoom_out", "pan_left", "pan_right"];
    const limits = [["threshold", data.threshold, "threshold for both together"], ["clear", data.clear, "clear for the words alone"]].filter(([, at]) => at != null);
    const decided = Boolean(data.decided_by);
    decision.textContent = data.action || (decided ? "no action named" : data.names ? "not decided yet" : "no action yet");
    badge.textContent = decided ? `decided by ${DECIDERS[data.decided_by] || data.decided_by}` : "";
    badge.dataset.by = data.decided_by || "";
    why.textContent = data.names ? data.why || "\u00a0" : "What words and picture believe in, and who decides. Press Generate.";
    legend.replaceChildren(
      ...kinds.map((k) => element("span", {}, element("i", { class: `i2v-swatch i2v-${k}` }), KINDS[k])),
      ...limits.map(([name, at, text]) => element("span", {}, element("i", { class: `i2v-swatch i2v-line i2v-${name}` }), `${text}: ${at}`)));
    if (!kinds.length) legend.textContent = "\u00a0";
    const rows = names.map((name, k) => {
      const chosen = name === data.action;
      const bars = (kinds.length ? kinds : ["words", "picture"]).map((kind) => {
        const p = beliefs[kind]?.[k] ?? 0, bar = element("b", { class: `i2v-${kind}`, title: `${name}, ${KINDS[kind]}: ${p.toFixed(3)}` });
        bar.style.width = `${100 * p}%`;
        return bar;
      });
      return element("div", { class: "i2v-belief", "aria-current": chosen && "true" },
        element("span", { class: "i2v-belief-name" }, chosen ? "\u25b8 " : "", name),
        element("span", { class: "i2v-belief-bars" }, ...bars),
        element("span", { class: "i2v-belief-values" }, ...kinds.map((kind) => element("span", {}, beliefs[kind][k].toFixed(2)))));
    });
    const lines = limits.map(([name, at]) => {
      const line = element("i", { class: `i2v-limit i2v-${name}` });
      line.style.left = `${100 * at}%`;
      return line;
    });
    const axis = [0, 0.25, 0.5, 0.75, 1].map((at) => {
      const tick = element("span", {}, String(at));
      tick.style.left = `${100 * at}%`;
      return tick;
    });
    const heads = element("div", { class: "i2v-belief i2v-belief-head" }, element("span"), element("span"),
      element("span", { class: "i2v-belief-values" }, ...kinds.map((k) => element("span", {}, element("i", { class: `i2v-swatch i2v-${k}`, title: KINDS[k] })))));
    chart.replaceChildren(heads, ...rows, element("div", { class: "i2v-limits" }, ...lines),
      element("div", { class: "i2v-belief-axis" }, ...axis, element("em", {}, "probability")));
    table.fill(["action", ...kinds.map((k) => KINDS[k])], names.map((name, k) => [name, ...kinds.map((kind) => beliefs[kind][k].toFixed(3))]));
  }

  const stop = listen(model, { "change:data": draw });
  el.append(root);
  draw();
  return stop;
}

export default { initialize, render };
