// A plan is drawn on a picture. The plan is plain data and never changed in place: each edit makes a new one, and undo goes back to the old.

const TOOLS = [
  ["arrow", "Arrow", "Where a point goes: drag, or click from point to point"],
  ["still", "Still", "Paint what must not move"],
  ["region", "Region", "Paint what does something of its own"],
  ["erase", "Erase", "Take paint away"],
  ["select", "Select", "Choose and move what is drawn"],
];
const HINTS = {
  arrow: "Drag from a point to where it shall go. Click for a point that stays; click on for a path.",
  still: "Paint what must stay still.",
  region: "Choose what it does, and paint where.",
  erase: "Paint over what is too much.",
  select: "Click on what is drawn; drag to move it.",
};
const TURNING = ["walk", "run", "rotate"]; // these have a direction
const [CHOSEN, FAR, MOST_POINTS] = ["#ffd400", 0.012, 24]; // a path may be so far from the hand, in shorter sides
const DRAG = 4; // a click may slip so many pixels
const NEAR = { mouse: 10, pen: 12, touch: 18 };

function render({ model, el }) {
  let plan = fresh(model.get("drawn") || {}), chosen = null, point = null; // point: of the chosen arrow; null: all of it
  let tool = "arrow", brush = BRUSH, manner = { action: "walk", direction: "right", amount: 1 };
  let past = [], future = [], gesture = null, path = null, hover = null, nudging = null, closed = false;

  // ---- what is on the page
  const board = easel("what is drawn");
  const stage = board.node;
  for (const [name, value] of [["tabindex", "0"], ["role", "application"], ["aria-roledescription", "drawing"]]) stage.setAttribute(name, value);
  const pickTool = segmented("Tool", TOOLS, (name) => setTool(name));
  const add = element("button", { type: "button", class: "i2v-button i2v-outlined", onclick: () => addOne(true) }, "Add");
  const size = element("input", { type: "range", min: 1, max: 40, step: 1, value: 100 * BRUSH, "aria-label": "Brush width, percent of the shorter side", oninput: () => setBrush(+size.value / 100) });
  const sizeText = element("span", { class: "i2v-drawing-size" });
  const undo = iconButton("undo", "Undo", () => goBack(past, future, "undone")), redo = iconButton("redo", "Redo", () => goBack(future, past, "done again"));
  const clear = element("button", { type: "button", class: "i2v-button", onclick: () => commit(fresh({}), null) }, "Clear");
  const action = picker("Action", (value) => setManner({ action: value }));
  const direction = picker("Direction", (value) => setManner({ direction: value || null }));
  const amount = element("input", { type: "number", class: "i2v-input", min: 0.1, max: 4, step: 0.1, "aria-label": "Amount: 1 is the action's usual size", onchange: () => setManner({ amount: clamp(+amount.value || 1, 0.1, 4) }) });
  const manners = element("div", { class: "i2v-drawing-details" }, action.node, direction.node, element("label", { class: "i2v-picker" }, element("span", {}, "Amount"), amount));
  const points = picker("Point", (value) => { point = value === "" ? null : +value; settle(); });
  const [from, to] = ["from", "to"].map((name) => element("input", { type: "number", class: "i2v-input", min: 0, max: 1, step: 0.05, "aria-label": `Moves ${name}, share of the clip`, onchange: setSpan }));
  const times = element("div", { class: "i2v-drawing-details" }, points.node,
    element("label", { class: "i2v-picker" }, element("span", {}, "Moves from"), from), element("label", { class: "i2v-picker" }, element("span", {}, "to"), to));
  const list = element("ul", { class: "i2v-drawing-list", "aria-label": "What is drawn" });
  const none = element("p", { class: "i2v-drawing-none" }, "Nothing is drawn yet.");
  const problem = element("p", { class: "i2v-drawing-problem", role: "alert" });
  const use = element("button", { type: "button", class: "i2v-button i2v-outlined", onclick: () => setTrait(model, "used", true) }, "Switch it on");
  const note = element("span"), noted = element("p", { class: "i2v-drawing-note", role: "status" }, note, use);
  const hint = element("p", { class: "i2v-caption" });
  const spoken = element("span", { class: "i2v-hidden", "aria-live": "polite" }), say = announcer(spoken);
  const root = element("div", { class: "i2v i2v-inspector i2v-drawing", role: "group", "aria-label": "Draw" },
    element("div", { class: "i2v-tools" }, pickTool.node, add, element("label", { class: "i2v-picker i2v-drawing-brush" }, element("span", {}, "Brush"), size, sizeText),
      element("span", { class: "i2v-drawing-history" }, undo, redo, clear)),
    element("div", { class: "i2v-drawing-columns" },
      element("div", { class: "i2v-side" }, stage, hint),
      element("div", { class: "i2v-side" }, element("h4", {}, "Plan"), noted, problem, list, none, manners, times)), spoken);

  const ratio = () => (board.image.naturalWidth ? board.image.naturalWidth / board.image.naturalHeight : 1.6);
  const extent = () => [board.sheet.clientWidth, board.sheet.clientHeight];
  const pixel = ([x, y]) => { const [w, h] = extent(); return [x * w, y * h]; };
  const apart = (a, b) => { const [p, q] = [pixel(a), pixel(b)]; return Math.hypot(p[0] - q[0], p[1] - q[1]); };
  const arrowChosen = () => (chosen?.kind === "arrows" ? plan.arrows[chosen.index] : null);
  const ready = () => !board.image.hidden;

  // ---- the plan, and how it came to be
  function commit(next, item, spot = null, merge = null) { // merge: edits with the same name, soon after each other, are undone together
    const now = Date.now(), same = merge && nudging?.name === merge && now - nudging.at < 1000;
    if (plainText(next) !== plainText(plan)) {
      if (!same) past.push({ plan, chosen, point });
      if (past.length > 200) past.shift();
      future = [];
      nudging = merge && { name: merge, at: now };
      plan = next;
      (merge ? sendSoon : send)();
    }
    choose(item, spot);
  }

  // Python sends back what it was told, perhaps when more has been drawn: what was sent lately is no news.
  let timer = null, sent = [];
  function send() {
    clearTimeout(timer);
    timer = null;
    const text = plainText(plan), now = Date.now();
    if (plainText(fresh(model.get("drawn") || {})) === text) return;
    sent = [...sent.filter((each) => now - each.at < 30_000), { text, at: now }];
    model.set("drawn", JSON.parse(text));
    model.set("note", "");
    model.save_changes();
  }
  function sendSoon() { timer ??= setTimeout(send, 200); } // while a key is held down
  const sendNow = () => timer && send();

  function goBack(here, there, word) {
    giveUp();
    endPath();
    const step = here.pop();
    if (!step) return;
    there.push({ plan, chosen, point });
    nudging = null;
    plan = step.plan;
    choose(itemsOf(plan).find((i) => sameItem(i, step.chosen)) || null, step.point);
    send();
    say(`${word}: ${told()}`);
  }

  function told() {
    return chosen ? inWords(plan, chosen, ratio()) : itemsOf(plan).length ? `${itemsOf(plan).length} drawn` : "nothing is drawn";
  }

  function choose(item, spot = null) {
    chosen = item;
    point = item?.kind === "arrows" && spot != null && spot < plan.arrows[item.index].points.length ? spot : null;
    if (path != null && !(item?.kind === "arrows" && item.index === path)) path = null;
    settle();
  }

  function setTool(name) {
    endPath();
    tool = name;
    if ((name === "arrow" && chosen?.kind !== "arrows") || (name === "still" && chosen?.kind !== "still") || (name === "region" && chosen?.kind !== "regions")) chosen = point = null;
    settle();
  }

  function setBrush(width) {
    brush = width;
    settle();
  }

  function remove(item) {
    const at = itemsOf(plan).findIndex((i) => sameItem(i, item));
    if (at < 0) return;
    const words = inWords(plan, item, ratio()), next = { ...plan, ...(item.kind === "field" ? { field: null } : { [item.kind]: plan[item.kind].filter((_, k) => k !== item.index) }) };
    const inList = list.contains(document.activeElement);
    path = null;
    commit(next, null);
    say(`${words}: deleted`);
    if (inList) (list.children[Math.min(at, list.children.length - 1)]?.firstChild || stage).focus();
  }

  const setArrow = (index, arrow) => ({ ...plan, arrows: plan.arrows.map((a, k) => (k === index ? { ...arrow, times: arrow.times ?? undefined } : a)) });
  const withArea = ({ kind, index }, area) => ({ ...plan, [kind]: plan[kind].map((each, k) => (k !== index ? each : kind === "still" ? area : { ...each, area })) });

  function full(kind) {
    if (plan[kind].length < MOST[kind]) return false;
    say((hint.textContent = `There are ${MOST[kind]} already; delete one first.`));
    return true;
  }

  function addArrow(places, go = false) {
    if (full("arrows")) return;
    const item = { kind: "arrows", index: plan.arrows.length }, times = timesOf(places, 0, 1, ratio());
    commit({ ...plan, arrows: [...plan.arrows, { points: roundAll(places), ...(times && { times }) }] }, item, places.length > 1 ? places.length - 1 : null);
    if (go) {
      path = item.index;
      settle();
    }
    say(told());
  }

  function addStroke(stroke) {
    const kind = tool === "region" ? "regions" : "still", area = chosen?.kind === kind ? areaOf(plan, chosen) : null;
    if (area?.strokes) commit(withArea(chosen, { strokes: [...area.strokes, stroke] }), chosen);
    else if (!full(kind)) {
      const made = { strokes: [stroke] };
      commit({ ...plan, [kind]: [...plan[kind], kind === "still" ? made : { area: made, ...mannered() }] }, { kind, index: plan[kind].length });
    }
    say(told());
  }

  function mannered() {
    const { action: name, direction: way, amount: much } = manner;
    return { action: name, ...(TURNING.includes(name) && way && { direction: way }), ...(much !== 1 && { amount: much }) };
  }

  // Paint goes where the eraser was; an area without any paint left goes, too.
  function erase(stroke) {
    const worn = (area) => {
      if (!area.strokes) return area;
      const before = surveyed(area, ratio()).share, next = { strokes: [...area.strokes, { ...stroke, erase: true }] }, after = surveyed(next, ratio()).share;
      return after === before ? area : after ? next : null;
    };
    const still = plan.still.map(worn).filter(Boolean);
    const regions = plan.regions.map((region) => ({ ...region, area: worn(region.area) })).filter((region) => region.area);
    commit({ ...plan, still, regions }, null);
    say(told());
  }

  // With the keyboard: an arrow, or a dab of paint, in the middle; the arrow keys take it to its place.
  function addOne(focus) {
    if (!ready()) return;
    endPath();
    if (tool === "still" || tool === "region") {
      chosen = null;
      addStroke({ points: [[0.5, 0.5]], width: brush });
    } else {
      if (tool !== "arrow") setTool("arrow");
      addArrow([[0.4, 0.5], [0.6, 0.5]]);
    }
    if (focus) stage.focus({ preventScroll: true });
  }

  function setManner(change) {
    manner = { ...manner, ...change };
    if (chosen?.kind === "regions") {
      const { area } = plan.regions[chosen.index];
      commit({ ...plan, regions: plan.regions.map((each, k) => (k === chosen.index ? { area, ...mannered() } : each)) }, chosen);
    } else settle();
  }

  function setSpan() {
    const arrow = arrowChosen(), [a, b] = spanOf(arrow);
    let [start, end] = [from, to].map((box, k) => clamp(box.value === "" ? [a, b][k] : +box.value, 0, 1));
    if (end - start < 0.02) [start, end] = start > 0.98 ? [0.98, 1] : [start, start + 0.02];
    commit(setArrow(chosen.index, withSpan(arrow, round(start), round(end), ratio())), chosen, point);
  }

  function endPath() {
    if (path == null) return false;
    path = hover = null;
    settle();
    return true;
  }

  // ---- the hand
  const inPicture = (event) => {
    const box = board.sheet.getBoundingClientRect();
    return [clamp((event.clientX - box.left) / box.width, 0, 1), clamp((event.clientY - box.top) / box.height, 0, 1)];
  };

  function arrowAt(place, near) { // the chosen one's points first
    const order = plan.arrows.map((_, k) => k).sort((a, b) => (chosen?.kind === "arrows" ? (b === chosen.index) - (a === chosen.index) : 0) || b - a);
    for (const index of order) {
      const places = plan.arrows[index].points, k = places.map((p) => apart(p, place)).reduce((best, d, i, all) => (d < all[best] ? i : best), 0);
      if (apart(places[k], place) <= near) return { index, point: k };
    }
    for (const index of order) if (plan.arrows[index].points.some((p, k, all) => k && toLine(pixel(place), pixel(all[k - 1]), pixel(p)) <= near * 0.7)) return { index, point: null };
    return null;
  }

  function toLine([x, y], [ax, ay], [bx, by]) {
    const [dx, dy] = [bx - ax, by - ay], t = clamp(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1), 0, 1);
    return Math.hypot(x - ax - t * dx, y - ay - t * dy);
  }

  const areaAt = (place) => itemsOf(plan).filter((i) => i.kind === "still" || i.kind === "regions").reverse()
    .find((i) => !areaOf(plan, i).mask && surveyed(areaOf(plan, i), ratio()).covers(place));

  function press(event) {
    if (!event.isPrimary || event.button || !ready()) return;
    event.preventDefault();
    stage.focus({ preventScroll: true });
    board.sheet.setPointerCapture(event.pointerId);
    const place = inPicture(event), base = { pointer: event.pointerId, start: place, points: [place], moved: false };
    const hit = path == null && (tool === "arrow" || tool === "select") ? arrowAt(place, NEAR[event.pointerType] || 10) : null;
    if (hit) {
      choose({ kind: "arrows", index: hit.index }, hit.point);
      gesture = { ...base, what: "move", from: plan };
    } else if (tool === "select") {
      choose(areaAt(place) || null);
      gesture = { ...base, what: chosen ? "move" : "nothing", from: plan };
    } else gesture = { ...base, what: tool === "arrow" ? "arrow" : "paint" };
    draw();
  }

  function drag(event) {
    if (path != null && !gesture) {
      hover = inPicture(event);
      draw();
    }
    if (!gesture || event.pointerId !== gesture.pointer) return;
    for (const each of event.getCoalescedEvents?.().length ? event.getCoalescedEvents() : [event]) gesture.points.push(inPicture(each));
    const here = gesture.points.at(-1);
    gesture.moved ||= apart(here, gesture.start) > DRAG;
    if (gesture.moved && gesture.what === "arrow" && path != null) path = hover = null;
    if (gesture.moved && gesture.what === "move") plan = movedBy(gesture.from, here[0] - gesture.start[0], here[1] - gesture.start[1]);
    draw();
  }

  function movedBy(plan_, dx, dy) { // the chosen thing, or the chosen point of it
    if (chosen.kind === "arrows") {
      const arrow = plan_.arrows[chosen.index];
      const places = point == null ? shifted(arrow.points, dx, dy, true) : arrow.points.map(([x, y], k) => (k === point ? [round(clamp(x + dx, 0, 1)), round(clamp(y + dy, 0, 1))] : [x, y]));
      const next = withPoints(arrow, places, ratio());
      return { ...plan_, arrows: plan_.arrows.map((a, k) => (k === chosen.index ? { points: next.points, ...(next.times && { times: next.times }) } : a)) };
    }
    if (chosen.kind === "field") return plan_;
    const area = shiftedArea(areaOf(plan_, chosen), dx, dy);
    return { ...plan_, [chosen.kind]: plan_[chosen.kind].map((each, k) => (k !== chosen.index ? each : chosen.kind === "still" ? area : { ...each, area })) };
  }

  function release(event) {
    if (!gesture || event.pointerId !== gesture.pointer) return;
    const { what, points: places, moved, start, from: before } = gesture;
    gesture = null;
    if (what === "move") {
      const next = plan;
      plan = before || plan;
      commit(next, chosen, point);
      if (moved) say(told());
    } else if (what === "arrow") {
      if (moved) addArrow(simplified(places, FAR, MOST_POINTS, ratio()));
      else if (path == null) addArrow([start], true);
      else if (apart(plan.arrows[path].points.at(-1), start) < 8) endPath();
      else {
        const arrow = plan.arrows[path], longer = [...arrow.points, ...roundAll([start])], index = path;
        commit(setArrow(index, withPoints(arrow, longer, ratio())), { kind: "arrows", index }, longer.length - 1);
        say(told());
      }
    } else if (what === "paint") {
      const stroke = { points: simplified(places, Math.max(0.004, 0.12 * brush), 40, ratio()), width: brush };
      if (tool === "erase") erase(stroke);
      else addStroke(stroke);
    }
    draw();
  }

  function giveUp() { // what the hand was about
    if (!gesture) return false;
    if (gesture.what === "move") plan = gesture.from;
    if (board.sheet.hasPointerCapture(gesture.pointer)) board.sheet.releasePointerCapture(gesture.pointer);
    gesture = null;
    draw();
    return true;
  }

  // ---- keys
  function nextPoint() {
    const arrow = arrowChosen();
    if (!arrow || arrow.points.length < 2) {
      const all = itemsOf(plan), at = all.findIndex((i) => sameItem(i, chosen));
      if (all.length) choose(all[(at + 1) % all.length]);
    } else {
      point = point == null ? 0 : point + 1 < arrow.points.length ? point + 1 : null;
      settle();
    }
    say(chosen ? `${pointName()} ${told()}` : "nothing is drawn; Enter adds an arrow");
  }

  function pointName() {
    const arrow = arrowChosen();
    return !arrow || point == null ? "" : point === 0 ? "start of" : point === arrow.points.length - 1 ? "end of" : `point ${point + 1} of`;
  }

  function nudge(event) {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!chosen) return say("nothing is selected; Space selects, Enter adds");
    const [w, h] = extent(), step = (event.shiftKey ? 0.05 : 0.01) * Math.min(w, h);
    const next = movedBy(plan, (by[0] * step) / w, (by[1] * step) / h);
    commit(next, chosen, point, `nudge ${chosen.kind} ${chosen.index} ${point}`);
    say(told());
  }

  function onKey(event) {
    const { key, target } = event, command = event.ctrlKey || event.metaKey, field = target.matches("input, select");
    if (key === "Escape" && (giveUp() || endPath())) return void event.preventDefault(); // and no run is stopped by it
    if (command && !event.altKey && /^[zy]$/i.test(key)) {
      if (target.matches("input[type=number]")) return;
      event.preventDefault();
      event.stopPropagation();
      if (key.toLowerCase() === "y" || event.shiftKey) goBack(future, past, "done again");
      else goBack(past, future, "undone");
      return;
    }
    keepKeys(event);
    if (command || event.altKey || field) return;
    if ((key === "Delete" || key === "Backspace") && (target.item || target === stage)) {
      event.preventDefault();
      if (target.item || chosen) remove(target.item || chosen);
      return;
    }
    if (target !== stage) return;
    const act = { Enter: () => endPath() || addOne(false), " ": nextPoint, ArrowLeft: nudge, ArrowRight: nudge, ArrowUp: nudge, ArrowDown: nudge }[key];
    if (!act) return;
    event.preventDefault();
    act(event);
  }

  // ---- what is seen
  const tiles = { still: patternTile("still"), regions: patternTile("regions") };

  function paintArea(context, item, area, w, h) {
    const scratch = new OffscreenCanvas(w, h), pen = scratch.getContext("2d");
    fillArea(pen, area, w, h);
    pen.globalCompositeOperation = "source-in";
    pen.fillStyle = pen.createPattern(tiles[item.kind], "repeat");
    pen.fillRect(0, 0, w, h);
    context.save();
    if (sameItem(item, chosen)) Object.assign(context, { shadowColor: CHOSEN, shadowBlur: 5 });
    context.drawImage(scratch, 0, 0, w, h);
    context.restore();
  }

  function label(context, text, [x, y], w) {
    context.font = "600 12px system-ui, sans-serif";
    const wide = context.measureText(text).width + 10, left = clamp(x - wide / 2, 2, Math.max(2, w - wide - 2));
    context.fillStyle = "rgb(0 0 0 / 0.78)";
    context.beginPath();
    context.roundRect(left, y - 9, wide, 18, 4);
    context.fill();
    context.fillStyle = "#fff";
    context.textBaseline = "middle";
    context.fillText(text, left + 5, y + 0.5);
  }

  function middleOf(area) {
    const all = area.strokes ? area.strokes.filter((s) => !s.erase).flatMap((s) => s.points) : area.polygon || (area.box && [area.box.slice(0, 2), area.box.slice(2)]);
    return all && [0, 1].map((c) => all.reduce((sum, p) => sum + p[c], 0) / all.length);
  }

  function draw() {
    const [w, h] = extent();
    if (!w || !h) return; // out of sight
    const context = fitCanvas(board.canvas, w, h);
    context.clearRect(0, 0, w, h);
    const being = gesture?.what === "paint" && { points: gesture.points, width: brush, erase: tool === "erase" };
    const kind = tool === "region" ? "regions" : "still", painted = chosen?.kind === kind && areaOf(plan, chosen).strokes;
    for (const item of itemsOf(plan)) {
      if (item.kind !== "still" && item.kind !== "regions") continue;
      const area = areaOf(plan, item), more = being && area.strokes && (tool === "erase" || (painted && sameItem(item, chosen)));
      if (!area.mask) paintArea(context, item, more ? { strokes: [...area.strokes, being] } : area, w, h);
    }
    if (being && tool !== "erase" && !painted) paintArea(context, { kind, index: -1 }, { strokes: [being] }, w, h);
    plan.still.forEach((area, k) => middleOf(area) && label(context, `still ${k + 1}`, pixel(middleOf(area)), w));
    plan.regions.forEach(({ area, action: name }, k) => middleOf(area) && label(context, `${k + 1} ${name}`, pixel(middleOf(area)), w));
    plan.arrows.forEach((arrow, index) => index !== chosen?.index || chosen.kind !== "arrows" ? drawArrow(context, arrow, false) : null);
    if (arrowChosen()) drawArrow(context, arrowChosen(), true);
    if (path != null && hover && !gesture) drawPath(context, [plan.arrows[path].points.at(-1), hover].map(pixel), { colour: CHOSEN, dashed: true });
    if (gesture?.what === "arrow" && gesture.moved) drawPath(context, simplified(gesture.points, FAR, MOST_POINTS, ratio()).map(pixel), { colour: CHOSEN });
    const names = itemsOf(plan).map((i) => inWords(plan, i, ratio())).join("; ");
    board.canvas.setAttribute("aria-label", names || "nothing is drawn");
  }

  function drawArrow(context, arrow, on) {
    const places = arrow.points.map(pixel), colour = on ? CHOSEN : "#fff";
    if (places.length > 1) drawPath(context, places, { colour, width: on ? 3 : 2.2 });
    drawDot(context, places[0], places.length > 1 ? 4.5 : 6, colour);
    if (places.length === 1) drawDot(context, places[0], 2, "#000");
    if (!on) return;
    if (places.length > 1) places.slice(1).forEach((p) => drawDot(context, p, 4.5, colour));
    if (point != null) drawDot(context, places[point], 6.5, "#000");
    if (point != null) drawDot(context, places[point], 4, colour);
  }

  function settleList() {
    const items = itemsOf(plan);
    while (list.children.length > items.length) list.lastChild.remove();
    items.forEach((item, k) => {
      if (!list.children[k]) list.append(row());
      const [name, gone] = list.children[k].children, words = inWords(plan, item, ratio()), on = String(sameItem(item, chosen));
      name.item = gone.item = item;
      if (name.textContent !== words) name.textContent = name.title = words;
      name.setAttribute("aria-pressed", on);
      gone.setAttribute("aria-label", `Delete ${words.split(":")[0]}`);
      gone.title = `Delete ${words.split(":")[0]}`;
    });
    none.hidden = items.length > 0;
  }

  function row() {
    const name = element("button", { type: "button", class: "i2v-button i2v-drawing-item", onclick: () => (endPath(), choose(sameItem(name.item, chosen) ? null : name.item)) });
    return element("li", {}, name, iconButton("delete", "Delete", (event) => remove(event.currentTarget.item)));
  }

  function settle() {
    const brushing = ["still", "region", "erase"].includes(tool), arrow = arrowChosen(), region = chosen?.kind === "regions" ? plan.regions[chosen.index] : null;
    pickTool.set(tool);
    stage.dataset.tool = tool;
    size.disabled = !brushing;
    size.value = Math.round(100 * brush);
    size.setAttribute("aria-valuetext", `${Math.round(100 * brush)} % of the shorter side`);
    sizeText.textContent = `${Math.round(100 * brush)}\u00a0%`;
    undo.disabled = !past.length;
    redo.disabled = !future.length;
    clear.disabled = isEmpty(plan);
    add.disabled = !ready();
    const what = { still: "a dab that stays still", region: "a dab of a region" }[tool] || "an arrow";
    add.title = `Add ${what} in the middle of the picture`;
    add.setAttribute("aria-label", `Add ${what}`);
    if (region) manner = { action: region.action, direction: region.direction ?? null, amount: region.amount ?? 1 };
    manners.hidden = !(tool === "region" || region);
    action.fill((model.get("actions") || []).map((name) => [name, name]), manner.action);
    const turning = TURNING.includes(manner.action);
    direction.fill(turning ? [["right", "right"], ["left", "left"]] : [["", "\u2013"]], turning ? manner.direction || "right" : "");
    amount.value = manner.amount;
    times.hidden = !arrow || arrow.points.length < 2;
    if (!times.hidden) {
      const last = arrow.points.length - 1, [start, end] = spanOf(arrow);
      points.fill([["", "all of it"], ...arrow.points.map((_, k) => [k, k === 0 ? "start" : k === last ? "end" : `point ${k + 1}`])], point ?? "");
      [from.value, to.value] = [start, end];
    }
    hint.textContent = !ready() ? "Choose a picture first." : path != null ? "Click for the next point. A double click, Enter or Escape ends the path." : HINTS[tool];
    settleList();
    settleNotes();
    draw();
  }

  function settleNotes() {
    const idle = !model.get("used") && !isEmpty(plan);
    note.textContent = idle ? "This plan is not used: its extension is off." : model.get("note");
    noted.hidden = !note.textContent;
    use.hidden = !idle;
    problem.textContent = model.get("problem");
    problem.hidden = !problem.textContent;
    stage.classList.toggle("i2v-drawing-idle", idle);
  }

  // ---- what comes from Python
  function heard() { // from another view of the same drawing, or our own words
    const text = plainText(fresh(model.get("drawn") || {}));
    if (!sent.some((each) => each.text === text)) take();
    else if (text !== plainText(plan)) sendSoon();
  }

  function take() {
    const next = fresh(model.get("drawn") || {});
    sent = [];
    if (plainText(next) === plainText(plan)) return;
    giveUp();
    path = nudging = null;
    past.push({ plan, chosen, point });
    future = [];
    plan = next;
    choose(null);
  }

  function show() {
    board.picture(model.get("picture"));
    settle();
  }
  board.image.addEventListener("load", () => (board.say(""), settle()));

  stage.setAttribute("aria-label", "Picture to draw on. Enter adds, Space goes to the next point, arrow keys move it, Shift further, Delete deletes");
  board.sheet.addEventListener("pointerdown", press);
  board.sheet.addEventListener("pointermove", drag);
  board.sheet.addEventListener("pointerup", release);
  board.sheet.addEventListener("pointercancel", giveUp);
  board.sheet.addEventListener("pointerleave", () => { hover = null; draw(); });
  stage.addEventListener("blur", sendNow);
  root.addEventListener("keydown", onKey);
  const stop = listen(model, { "change:drawn": heard, "change:told": take, "change:picture": show, "change:problem": settleNotes, "change:note": settleNotes, "change:used": settleNotes, "change:actions": settle });
  const observer = new ResizeObserver(oncePerFrame(() => !closed && draw()));
  observer.observe(board.sheet);
  el.append(root);
  board.say("Choose a picture first.");
  show();
  return () => {
    closed = true;
    sendNow();
    stop();
    observer.disconnect();
    board.close();
  };
}

export default { render };
