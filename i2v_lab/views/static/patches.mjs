// How the picture was cut into tokens.

function gridLines(svg, rows, cols) {
  svg.setAttribute("viewBox", `0 0 ${cols} ${rows}`);
  const path = [];
  for (let c = 0; c <= cols; c++) path.push(`M${c} 0V${rows}`);
  for (let r = 0; r <= rows; r++) path.push(`M0 ${r}H${cols}`);
  const line = (colour, width) => shape("path", { d: path.join(""), fill: "none", stroke: colour, "stroke-width": width, "stroke-opacity": 0.75, "vector-effect": "non-scaling-stroke" });
  svg.replaceChildren(line("#fff", 2.4), line("#000", 0.9));
}

function render({ model, el }) {
  const board = easel("the picture");
  const overlay = segmented("Over the picture", [["grid", "Grid"], ["subject", "Subject"], ["none", "Nothing"]], (value) => setTrait(model, "overlay", value));
  const scale = scaleBar();
  const fill = element("i"), used = element("span");
  const meter = element("div", { class: "i2v-meter" }, element("b", {}, fill), used);
  const facts = element("dl", { class: "i2v-facts" });
  const caption = element("p", { class: "i2v-caption", "aria-live": "polite" });
  const root = element("div", { class: "i2v i2v-inspector i2v-patches", role: "group", "aria-label": "Patches" },
    element("div", { class: "i2v-tools" }, overlay.node),
    element("div", { class: "i2v-wide" },
      element("div", { class: "i2v-side" }, board.node, scale.node),
      element("div", { class: "i2v-side" }, element("h4", {}, "Tokens"), meter, facts)),
    caption);

  function draw() {
    const data = model.get("data"), there = Boolean(data.grid), over = data.subject ? model.get("overlay") : model.get("overlay") === "subject" ? "grid" : model.get("overlay");
    board.picture(model.get("picture"));
    board.say(there ? "" : "How the picture is cut into tokens. Press Generate.");
    overlay.set(over);
    overlay.allow("subject", Boolean(data.subject));
    const [rows, cols] = data.grid || [0, 0];
    if (there) board.ratio(data.size[1] / data.size[0]);
    if (there && over === "grid") gridLines(board.svg, rows, cols);
    else board.svg.replaceChildren();
    const subject = there && over === "subject";
    board.canvas.style.opacity = subject ? 1 : 0;
    if (subject) heat(board.canvas, bytesOf(data.subject), ...data.subject_grid, 255, 0.55, 0.85);
    board.canvas.setAttribute("aria-label", !there ? "nothing yet" : subject ? "how surely each place belongs to the subject" : `the picture, cut into ${rows} by ${cols} patches`);
    board.image.classList.toggle("i2v-grey", subject);
    scale.node.classList.toggle("i2v-off", !subject);
    scale.set("background", "subject");
    caption.textContent = data.text ? `${data.text}.` : "\u00a0";
    const share = there ? data.tokens / Math.max(data.max_tokens, data.tokens) : 0;
    fill.style.width = `${100 * share}%`;
    used.textContent = there ? `${data.tokens} of ${data.max_tokens} used` : "\u2013";
    const side = data.facing == null || Math.abs(data.facing) < 0.2 ? "" : data.facing < 0 ? ", faces left" : ", faces right";
    const rowsOf = {
      Grid: there && `${cols} across, ${rows} down`,
      "One token": there && `${data.cell[1].toFixed(0)} \u00d7 ${data.cell[0].toFixed(0)} pixels`,
      Picture: there && `${data.size[1]} \u00d7 ${data.size[0]} pixels`,
      Shapes: there && (data.stretch_percent >= 0.5 ? `${(1 + data.stretch_percent / 100).toFixed(2)} times as long one way` : "as they are"),
      Padding: there && (data.padded ? `${data.padded} tokens` : "none"),
      Subject: there && (data.found == null ? "not looked for" : data.found ? `${percent(data.share)} of the picture${side}` : "none found"),
    };
    facts.replaceChildren(...Object.entries(rowsOf).flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text || "\u2013")]));
  }

  const stop = listen(model, { "change:data": draw, "change:picture": draw, "change:overlay": draw });
  root.addEventListener("keydown", keepKeys);
  el.append(root);
  draw();
  return () => {
    stop();
    board.close();
  };
}

export default { initialize, render };
