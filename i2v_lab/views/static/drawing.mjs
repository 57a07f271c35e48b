// A plan is drawn on a picture. The plan is plain data and never changed in place: each edit makes a new one, and undo goes back to the old.

const TOOLS = [
  ["arrow", "Arrow", "Where a point goes: drag; a click is a point that stays"],
  ["still", "Still", "Paint what must not move"],
  ["region", "Region", "Paint what does something of its own"],
  ["erase", "Erase", "Take paint away"],
  ["select", "Select", "Choose and move what is drawn"],
];
const KEYS = "Keys: arrows move the brush, Enter dabs, Space takes the next area or a new one.";
const HINTS = {
  arrow: "Drag from a point to where it shall go; click for a point that stays. Shift+click, or the key A, adds a point to the selected arrow.",
  still: `Paint what must stay still; a click is a dab. ${KEYS}`,
  region: `Choose what it does, and paint where; a click is a dab. ${KEYS}`,
  erase: "Paint over what is too much; a click is a dab. Keys: arrows move the brush, Enter wipes.",
  select: "Click on what is drawn; drag it, or press arrow keys, to move it. Shift+click, or the key A, adds a point to the selected arrow.",
};
const AT_EDGE = "An arrow ends at the picture's edge; in Python it may go on, to -1 and 2.";
const TURNING = ["walk", "run", "rotate"]; // these have a direction
const [CHOSEN, FAR, MOST_DRAWN, MOST_POINTS] = ["#ffd400", 0.012, 24, 256]; // a path may be so far from the hand, in shorter sides
const DRAG = 4; // a click may slip so many pixels
const NEAR = { mouse: 10, pen: 12, touch: 18 };

function render({ model, el }) {
  let plan = fresh(model.get("drawn") || {}), chosen = null, point = null; // point: of the chosen arrow; null: all of it
  let tool = "arrow", brush = BRUSH, manner = { action: "walk", direction: "right", amount: 1 };
  let past = [], future = [], gesture = null, nudging = null, closed = false, remark = ""; // remark: stands in the hint's place until the next press
  let hover = null, cursor = [0.5, 0.5]; // where the brush is: under the pointer, and for the keys
  let masks = new Map(), labels = null; // pictures of mask files, by their paths; where the labels stand

  // ---- what is on the page
  const board = easel("what is drawn");
  const stage = board.node;
  for (const [name, value] of [["tabindex", "0"], ["role", "application"], ["aria-roledescription", "drawing"]]) stage.setAttribute(name, value);
  const pickTool = segmented("Tool", TOOLS, (name) => setTool(name));
  const add = element("button", { type: "button", class: "i2v-button i2v-outlined", onclick: () => addOne(true) }, "Add");
  const size = element("input", { type: "range", min: 1, max: 40, step: 1, value: 100 * BRUSH, "aria-label": "Brush width, percent of the shorter side", oninput: () => setBrush(+size.value / 100) });
  const sizeText = element("span", { class: "i2v-drawing-size" });
  const undo = iconButton("undo", "Undo", () => goBack(past, future, "undone")), redo = iconButton("redo", "Redo", () => goBack(future, past, "done again"));
  const clear = element("button", { type: "button", class: "i2v-button", onclick: () => (giveUp(), commit(fresh({}), null), keepFocus()) }, "Clear");
  const action = picker("Action", (value) => setManner({ action: value }));
  const direction = picker("Direction", (value) => setManner({ direction: value || null }));
  const amount = element("input", { type: "number", class: "i2v-input", min: 0.1, max: 4, step: 0.1, "aria-label": "Amount: 1 is the action's usual size", onchange: setAmount });
  const [wrongAmount, wrongSpan] = [0, 1].map(() => element("p", { class: "i2v-drawing-problem", role: "alert", hidden: true }));
  const manners = element("div", { class: "i2v-drawing-details" }, action.node, direction.node, element("label", { class: "i2v-picker" }, element("span", {}, "Amount"), amount), wrongAmount);
  const points = picker("Point", (value) => { point = value === "" ? null : +value; settle(); });
  const [from, to] = ["from", "to"].map((name) => element("input", { type: "number", class: "i2v-input", min: 0, max: 1, step: 0.05, "aria-label": `Moves ${name}, share of the clip`, onchange: setSpan }));
  const times = element("div", { class: "i2v-drawing-details" }, points.node,
    element("label", { class: "i2v-picker" }, element("span", {}, "Moves from"), from), element("label", { class: "i2v-picker" }, element("span", {}, "to"), to), wrongSpan);
  const list = element("ul", { class: "i2v-drawing-list", "aria-label": "What is drawn" });
  const none = element("p", { class: "i2v-drawing-none" }, "Nothing is drawn yet.");
  const problem = element("p", { class: "i2v-drawing-problem", role: "alert" });
  const use = element("button", { type: "button", class: "i2v-button i2v-outlined", onclick: () => setTrait(model, "used", true) }, "Switch it on");
  const note = element("span"), noted = element("p", { class: "i2v-drawing-note", role: "status" }, note, use);
  const hint = element("p", { class: "i2v-caption i2v-drawing-hint" });
  const spoken = element("span", { class: "i2v-hidden", "aria-live": "polite" }), say = announcer(spoken);
  const root = element("div", { class: "i2v i2v-inspector i2v-drawing", role: "group", "aria-label": "Draw" },
    element("div", { class: "i2v-tools" }, pickTool.node, add, element("label", { class: "i2v-picker i2v-drawing-brush" }, element("span", {}, "Brush"), size, sizeText),
      element("span", { class: "i2v-drawing-history" }, undo, redo, clear)), hint,
    element("div", { class: "i2v-drawing-columns" },
      element("div", { class: "i2v-side" }, stage),
      element("div", { class: "i2v-side" }, element("h4", {}, "Plan"), noted, problem, list, none, manners, times)), spoken);

  const ratio = () => (board.image.naturalWidth ? board.image.naturalWidth / board.image.naturalHeight : 1.6);
  const extent = () => [board.sheet.clientWidth, board.sheet.clientHeight];
  const pixel = ([x, y]) => { const [w, h] = extent(); return [x * w, y * h]; };
  const apart = (a, b) => { const [p, q] = [pixel(a), pixel(b)]; return Math.hypot(p[0] - q[0], p[1] - q[1]); };
  const maskOf = (area) => masks.get(area.mask)?.bitmap || null;
  const survey = (area) => surveyed(area, ratio(), maskOf(area));
  const worded = (item) => inWords(plan, item, ratio(), maskOf);
  const brushing = () => tool === "still" || tool === "region" || tool === "erase";
  const kindOfTool = () => (tool === "region" ? "regions" : "still");
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
    const step = here.pop();
    if (!step) return;
    there.push({ plan, chosen, point });
    nudging = null;
    plan = step.plan;
    choose(itemsOf(plan).find((i) => sameItem(i, step.chosen)) || null, step.point);
    send();
    say(`${word}: ${told()}`);
    keepFocus();
  }

  function keepFocus() { // a button that has done all it can gives the keys back to the picture: Ctrl+Z is heard here only
    if (!root.contains(document.activeElement) || document.activeElement.disabled) stage.focus({ preventScroll: true });
  }

  function told() {
    return chosen ? worded(chosen) : itemsOf(plan).length ? `${itemsOf(plan).length} drawn` : "nothing is drawn";
  }

  function choose(item, spot = null) {
    chosen = item;
    point = item?.kind === "arrows" && spot != null && spot < plan.arrows[item.index].points.length ? spot : null;
    forgive();
    settle();
  }

  function setTool(name) {
    giveUp();
    forgive();
    tool = name;
    if ((name === "arrow" && chosen?.kind !== "arrows") || (name === "still" && chosen?.kind !== "still") || (name === "region" && chosen?.kind !== "regions")) chosen = point = null;
    settle();
  }

  function forgive() { // what was said of a wrong press or a wrong number is over
    remark = "";
    for (const [node, ...boxes] of [[wrongAmount, amount], [wrongSpan, from, to]]) {
      node.hidden = true;
      boxes.forEach((box) => box.removeAttribute("aria-invalid"));
    }
  }

  function refuse(node, box, why) { // beside the field; the plan is as it was
    const text = box.value;
    forgive();
    settle();
    node.textContent = text === "" ? `Not taken: ${why}.` : `${text} was not taken: ${why}.`;
    node.hidden = false;
    box.setAttribute("aria-invalid", "true");
  }

  function tell(text) { // in the place of the hint
    remark = text;
    settle();
    say(text);
  }

  function setBrush(width) {
    brush = width;
    settle();
  }

  function remove(item) {
    const at = itemsOf(plan).findIndex((i) => sameItem(i, item));
    if (at < 0) return;
    const words = worded(item), next = { ...plan, ...(item.kind === "field" ? { field: null } : { [item.kind]: plan[item.kind].filter((_, k) => k !== item.index) }) };
    const inList = list.contains(document.activeElement);
    giveUp();
    commit(next, null);
    say(`${words}: deleted`);
    if (inList) (list.children[Math.min(at, list.children.length - 1)]?.firstChild || stage).focus({ preventScroll: true });
    keepFocus();
  }

  const setArrow = (index, arrow) => ({ ...plan, arrows: plan.arrows.map((a, k) => (k === index ? { ...arrow, times: arrow.times ?? undefined } : a)) });
  const withArea = ({ kind, index }, area) => ({ ...plan, [kind]: plan[kind].map((each, k) => (k !== index ? each : kind === "still" ? area : { ...each, area })) });

  function full(kind) {
    if (plan[kind].length < MOST[kind]) return false;
    tell(`There are ${MOST[kind]} already; delete one first.`);
    return true;
  }

  function addArrow(places) {
    if (full("arrows")) return;
    const item = { kind: "arrows", index: plan.arrows.length }, times = timesOf(places, 0, 1, ratio());
    commit({ ...plan, arrows: [...plan.arrows, { points: roundAll(places), ...(times && { times }) }] }, item, places.length > 1 ? places.length - 1 : null);
    say(told());
  }

  function lengthen(place = null) { // the selected arrow goes on to there; null: a bit further
    const arrow = arrowChosen();
    if (!arrow) return tell("Select an arrow first, or add one.");
    if (arrow.points.length >= MOST_POINTS) return tell(`An arrow has ${MOST_POINTS} points at most.`);
    const longer = [...arrow.points, ...roundAll([place || furtherOn(arrow.points, ratio())])];
    commit(setArrow(chosen.index, withPoints(arrow, longer, ratio())), chosen, longer.length - 1);
    say(told());
  }

  function addStroke(stroke) {
    const kind = kindOfTool(), area = chosen?.kind === kind ? areaOf(plan, chosen) : null;
    cursor = stroke.points.at(-1);
    if (area?.strokes && sameStroke(stroke, area.strokes.at(-1))) tell("This dab is there already; arrow keys move the brush.");
    else if (area?.strokes) commit(withArea(chosen, { strokes: [...area.strokes, stroke] }), chosen);
    else if (!full(kind)) {
      const made = { strokes: [stroke] };
      commit({ ...plan, [kind]: [...plan[kind], kind === "still" ? made : { area: made, ...mannered() }] }, { kind, index: plan[kind].length });
    }
    say(remark || told());
  }

  function mannered() {
    const { action: name, direction: way, amount: much } = manner;
    return { action: name, ...(TURNING.includes(name) && way && { direction: way }), ...(much !== 1 && { amount: much }) };
  }

  // Paint goes where the eraser was; an area without any paint left goes, too.
  function erase(stroke) {
    const worn = (area) => {
      if (!area.strokes) return area;
      const before = survey(area).share, next = { strokes: [...area.strokes, { ...stroke, erase: true }] }, after = survey(next).share;
      const crumbs = after < 0.0005 && after < 0.2 * before; // too small to be seen, or to be hit
      return after === before ? area : after && !crumbs ? next : null;
    };
    cursor = stroke.points.at(-1);
    const still = plan.still.map(worn).filter(Boolean);
    const regions = plan.regions.map((region) => ({ ...region, area: worn(region.area) })).filter((region) => region.area);
    commit({ ...plan, still, regions }, null);
    say(told());
  }

  // With the keyboard: a dab of paint where the brush is, or an arrow in the middle, a bit off those that are there.
  function addOne(focus) {
    if (!ready()) return;
    const dab = { points: roundAll([cursor]), width: brush };
    if (tool === "erase") erase(dab);
    else if (brushing()) addStroke(dab);
    else {
      if (tool !== "arrow") setTool("arrow");
      addArrow(freePlace(plan.arrows, ratio()));
    }
    if (focus) stage.focus({ preventScroll: true });
    hover = null;
    settleBrush();
  }

  function setManner(change) {
    manner = { ...manner, ...change };
    if (chosen?.kind === "regions") {
      const { area } = plan.regions[chosen.index];
      commit({ ...plan, regions: plan.regions.map((each, k) => (k === chosen.index ? { area, ...mannered() } : each)) }, chosen);
    } else settle();
  }

  function setAmount() {
    const much = +amount.value;
    if (amount.value === "" || !(much > 0 && much <= 4)) return refuse(wrongAmount, amount, "give more than 0, and 4 at most");
    forgive();
    setManner({ amount: much });
  }

  function setSpan(event) {
    const arrow = arrowChosen(), box = event.currentTarget, [start, end] = [from, to].map((each) => round(+each.value));
    if (box.value === "" || !(+box.value >= 0 && +box.value <= 1)) return refuse(wrongSpan, box, "give a share of the clip, 0 to 1");
    if (end - start < 0.02) return refuse(wrongSpan, box, box === from ? `it must be 0.02 or more before ${end}` : `it must be 0.02 or more after ${start}`);
    commit(setArrow(chosen.index, withSpan(arrow, start, end, ratio())), chosen, point);
  }

  // ---- the hand
  const under = (event) => {
    const box = board.sheet.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  const inPicture = (event) => under(event).map((c) => clamp(c, 0, 1));

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

  function areaAt(place, near) { // the topmost one; a small dab is hit from beside it, too
    const [w, h] = extent(), areas = itemsOf(plan).filter((i) => i.kind === "still" || i.kind === "regions").reverse();
    const around = [0, 1, 2, 3, 4, 5, 6, 7].map((k) => [place[0] + (near * Math.cos((k * Math.PI) / 4)) / w, place[1] + (near * Math.sin((k * Math.PI) / 4)) / h]);
    const found = (places) => areas.find((i) => places.some(survey(areaOf(plan, i)).covers));
    return found([place]) || found(around) || null;
  }

  function press(event) {
    if (!event.isPrimary || event.button || !ready()) return;
    event.preventDefault();
    stage.focus({ preventScroll: true });
    board.sheet.setPointerCapture(event.pointerId);
    forgive();
    const place = inPicture(event), base = { pointer: event.pointerId, start: place, points: [place], moved: false };
    const near = NEAR[event.pointerType] || 10, longer = event.shiftKey && !brushing() && arrowChosen();
    const hit = !brushing() && !longer ? arrowAt(place, near) : null;
    if (longer) gesture = { ...base, what: "longer" };
    else if (hit) {
      choose({ kind: "arrows", index: hit.index }, hit.point);
      gesture = { ...base, what: "move", from: plan };
    } else if (tool === "select") {
      choose(areaAt(place, near / 2));
      gesture = { ...base, what: chosen ? "move" : "nothing", from: plan };
    } else gesture = { ...base, what: tool === "arrow" ? "arrow" : "paint" };
    settle();
  }

  function drag(event) {
    hover = inPicture(event);
    settleBrush();
    if (!gesture || event.pointerId !== gesture.pointer) return;
    for (const each of event.getCoalescedEvents?.().length ? event.getCoalescedEvents() : [event]) gesture.points.push(inPicture(each));
    const here = gesture.points.at(-1);
    gesture.moved ||= apart(here, gesture.start) > DRAG;
    if (gesture.moved && gesture.what === "move") plan = movedBy(gesture.from, here[0] - gesture.start[0], here[1] - gesture.start[1]);
    const outside = apart(under(event), here) > 1 && (gesture.what === "arrow" || (gesture.what === "move" && point != null));
    if (outside !== (remark === AT_EDGE)) tell(outside ? AT_EDGE : "");
    draw();
  }

  function movedBy(plan_, dx, dy) { // the chosen thing, or the chosen point of it
    if (chosen.kind === "arrows") {
      const arrow = plan_.arrows[chosen.index];
      const places = point == null ? shifted(arrow.points, dx, dy, true) : arrow.points.map((p, k) => (k === point ? p.map((c, i) => round(clamp(c + [dx, dy][i], Math.min(0, c), Math.max(1, c)))) : p));
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
    } else if (what === "longer") lengthen(places.at(-1));
    else if (what === "arrow") addArrow(moved ? simplified(places, FAR, MOST_DRAWN, ratio()) : [start]);
    else if (what === "paint") {
      const stroke = { points: moved ? simplified(places, Math.max(0.004, 0.12 * brush), 40, ratio()) : roundAll([start]), width: brush };
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
    if (tool === "still" || tool === "region") { // the areas that could be painted, and none of them
      const all = [...itemsOf(plan).filter((i) => i.kind === kindOfTool()), null];
      choose(all[(all.findIndex((i) => sameItem(i, chosen)) + 1) % all.length]);
      return say(chosen ? told() : "Enter begins a new area");
    }
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
    const [w, h] = extent(), step = (event.shiftKey ? 0.05 : 0.01) * Math.min(w, h);
    if (brushing()) {
      hover = null;
      cursor = [clamp(cursor[0] + (by[0] * step) / w, 0, 1), clamp(cursor[1] + (by[1] * step) / h, 0, 1)];
      settleBrush();
      return say(`brush at ${cursor.map(share).join(", ")}`);
    }
    if (!chosen) return say("nothing is selected; Space selects, Enter adds");
    const next = movedBy(plan, (by[0] * step) / w, (by[1] * step) / h);
    commit(next, chosen, point, `nudge ${chosen.kind} ${chosen.index} ${point}`);
    say(told());
  }

  function onKey(event) {
    const { key, target } = event, command = event.ctrlKey || event.metaKey, field = target.matches("input, select");
    if (key === "Escape" && giveUp()) return void event.preventDefault(); // and no run is stopped by it
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
    const act = { Enter: () => addOne(false), " ": nextPoint, a: () => lengthen(), A: () => lengthen(), ArrowLeft: nudge, ArrowRight: nudge, ArrowUp: nudge, ArrowDown: nudge }[key];
    if (!act) return;
    event.preventDefault();
    if (remark) tell("");
    act(event);
  }

  // ---- what is seen
  const tiles = { still: patternTile("still"), regions: patternTile("regions") };

  function paintArea(context, item, area, w, h) {
    const scratch = new OffscreenCanvas(w, h), pen = scratch.getContext("2d");
    fillArea(pen, area, w, h, maskOf(area));
    patterned(pen, tiles[item.kind], w, h);
    context.save();
    if (sameItem(item, chosen)) Object.assign(context, { shadowColor: CHOSEN, shadowBlur: 5 });
    context.drawImage(scratch, 0, 0, w, h);
    context.restore();
  }

  const SMALL = "600 12px system-ui, sans-serif";

  function label(context, { text, box: [left, top, right, bottom] }, colour) {
    context.fillStyle = "rgb(0 0 0 / 0.78)";
    context.beginPath();
    context.roundRect(left, top, right - left, bottom - top, 4);
    context.fill();
    Object.assign(context, { font: SMALL, fillStyle: colour, textBaseline: "middle", textAlign: "center" });
    context.fillText(text, (left + right) / 2, (top + bottom) / 2 + 0.5);
  }

  // Names stand where they hide least: an arrow's number behind its start, an area's name in it, or beside a small one.
  function settleLabels(context, w, h) {
    if (labels?.plan === plan && labels.w === w && labels.h === h && labels.masks === masks) return;
    context.font = SMALL;
    const areas = itemsOf(plan).filter((i) => i.kind === "still" || i.kind === "regions").map((item) => ({ item, ...survey(areaOf(plan, item)) }));
    const all = { arrows: [], still: [], regions: [] };
    const room = { w, h, dots: plan.arrows.flatMap((arrow) => alongPath(arrow.points.map(pixel), 5)), areas, taken: [] };
    const put = (text, tries) => {
      const box = leastHiding(room, context.measureText(text).width + (text.length > 2 ? 10 : 8), 17, tries);
      room.taken.push(box);
      return { text, box };
    };
    plan.arrows.forEach((arrow, k) => all.arrows.push(put(`${k + 1}`, behindStart(arrow.points.map(pixel), 15))));
    for (const { item, bounds, covers } of areas) {
      const { kind, index } = item, text = kind === "still" ? `still ${index + 1}` : `region ${index + 1}: ${plan.regions[index].action}`;
      all[kind].push(bounds && put(text, inOrBeside(bounds, covers, w, h)));
    }
    labels = { plan, w, h, masks, all };
  }

  function draw() {
    const [w, h] = extent();
    if (!w || !h) return; // out of sight
    const context = fitCanvas(board.canvas, w, h);
    context.clearRect(0, 0, w, h);
    const being = gesture?.what === "paint" && { points: gesture.points, width: brush, erase: tool === "erase" };
    const kind = kindOfTool(), painted = chosen?.kind === kind && areaOf(plan, chosen).strokes;
    for (const item of itemsOf(plan)) {
      if (item.kind !== "still" && item.kind !== "regions") continue;
      const area = areaOf(plan, item), more = being && area.strokes && (tool === "erase" || (painted && sameItem(item, chosen)));
      paintArea(context, item, more ? { strokes: [...area.strokes, being] } : area, w, h);
    }
    if (being && tool !== "erase" && !painted) paintArea(context, { kind, index: -1 }, { strokes: [being] }, w, h);
    settleLabels(context, w, h);
    for (const each of [...labels.all.still, ...labels.all.regions]) if (each) label(context, each, "#fff");
    plan.arrows.forEach((arrow, index) => index !== chosen?.index || chosen.kind !== "arrows" ? drawArrow(context, arrow, false) : null);
    if (arrowChosen()) drawArrow(context, arrowChosen(), true);
    labels.all.arrows.forEach((each, index) => label(context, each, sameItem(chosen, { kind: "arrows", index }) ? CHOSEN : "#fff"));
    if (gesture?.what === "arrow" && gesture.moved) drawPath(context, simplified(gesture.points, FAR, MOST_DRAWN, ratio()).map(pixel), { colour: CHOSEN });
    if (gesture?.what === "longer") drawPath(context, [arrowChosen().points.at(-1), gesture.points.at(-1)].map(pixel), { colour: CHOSEN, dashed: true });
    board.canvas.setAttribute("aria-label", itemsOf(plan).map(worded).join("; ") || "nothing is drawn");
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
      const [name, gone] = list.children[k].children, words = worded(item), on = String(sameItem(item, chosen));
      name.item = gone.item = item;
      if (name.textContent !== words) name.textContent = words;
      name.title = item.kind === "arrows" ? `${words} (percent of the picture's width and height)` : words;
      name.setAttribute("aria-pressed", on);
      gone.setAttribute("aria-label", `Delete ${words.split(":")[0]}`);
      gone.title = `Delete ${words.split(":")[0]}`;
    });
    none.hidden = items.length > 0;
  }

  function row() {
    const name = element("button", { type: "button", class: "i2v-button i2v-drawing-item", onclick: () => choose(sameItem(name.item, chosen) ? null : name.item) });
    return element("li", {}, name, iconButton("delete", "Delete", (event) => remove(event.currentTarget.item)));
  }

  function settle() {
    const arrow = arrowChosen(), region = chosen?.kind === "regions" ? plan.regions[chosen.index] : null;
    pickTool.set(tool);
    stage.dataset.tool = tool;
    size.disabled = !brushing();
    size.value = Math.round(100 * brush);
    size.setAttribute("aria-valuetext", `${Math.round(100 * brush)} % of the shorter side`);
    sizeText.textContent = `${Math.round(100 * brush)}\u00a0%`;
    undo.disabled = !past.length;
    redo.disabled = !future.length;
    clear.disabled = isEmpty(plan);
    add.disabled = !ready() || tool === "erase";
    const what = { still: "a dab that stays still", region: "a dab of a region" }[tool] || "an arrow";
    add.title = `Add ${what} ${brushing() ? "where the brush is" : "in the middle of the picture"}`;
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
    hint.textContent = !ready() ? "Choose a picture first." : remark || HINTS[tool];
    settleList();
    settleNotes();
    settleBrush();
    draw();
  }

  // A circle of the brush's size, under the pointer; a cross in it where the keys have it.
  const rings = [["rgb(0 0 0 / 0.8)", 3.4], ["#fff", 1.6]].map(([stroke, width]) => shape("circle", { fill: "none", stroke, "stroke-width": width }));
  const crosses = [["rgb(0 0 0 / 0.8)", 3.4], ["#fff", 1.6]].map(([stroke, width]) => shape("path", { d: "M-5 0H5M0-5V5", stroke, "stroke-width": width }));
  board.svg.append(...rings, ...crosses);

  function settleBrush() {
    const keys = !hover && [stage, size].includes(document.activeElement), shown = brushing() && ready() && (hover || keys);
    const [x, y] = pixel(hover || cursor), radius = (brush * Math.min(...extent())) / 2;
    for (const ring of rings) Object.entries({ cx: x, cy: y, r: radius, "stroke-dasharray": tool === "erase" ? "5 4" : "none" }).forEach(([name, value]) => ring.setAttribute(name, value));
    for (const cross of crosses) cross.setAttribute("transform", `translate(${x} ${y})`);
    for (const each of rings) each.style.display = shown ? "" : "none";
    for (const each of crosses) each.style.display = shown && keys ? "" : "none";
  }

  let unusedSince = null; // Python switches the extension on at the first stroke: that takes a moment
  function settleNotes() {
    const unused = !closed && !model.get("used") && !isEmpty(plan);
    unusedSince = unused ? unusedSince || Date.now() : null;
    const idle = unused && Date.now() - unusedSince >= 1200;
    if (unused && !idle) setTimeout(settleNotes, 1300);
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
    nudging = null;
    past.push({ plan, chosen, point });
    future = [];
    plan = next;
    choose(null);
  }

  // What mask files cover comes as pictures.
  async function takeMasks() {
    const files = Object.entries(model.get("masks") || {}), asked = (takeMasks.asked = {});
    const read = await Promise.all(files.map(async ([path, file]) => [path, masks.get(path)?.file === file ? masks.get(path) : { file, bitmap: await createImageBitmap(blobOf(file, "image/png")) }]));
    if (closed || asked !== takeMasks.asked) return;
    masks = new Map(read);
    settle();
  }

  function show() {
    board.picture(model.get("picture"));
    settle();
  }
  board.image.addEventListener("load", () => (board.say(""), settle()));

  stage.setAttribute("aria-label", "Picture to draw on. Enter adds, A adds a point to the selected arrow, Space goes to the next point or area, arrow keys move it or the brush, Shift further, Delete deletes");
  board.sheet.addEventListener("pointerdown", press);
  board.sheet.addEventListener("pointermove", drag);
  board.sheet.addEventListener("pointerup", release);
  board.sheet.addEventListener("pointercancel", giveUp);
  board.sheet.addEventListener("pointerleave", () => { hover = null; settleBrush(); });
  stage.addEventListener("blur", sendNow);
  for (const node of [stage, size]) for (const event of ["focus", "blur"]) node.addEventListener(event, settleBrush);
  root.addEventListener("keydown", onKey);
  const stop = listen(model, { "change:drawn": heard, "change:told": take, "change:picture": show, "change:masks": takeMasks, "change:problem": settleNotes, "change:note": settleNotes, "change:used": settleNotes, "change:actions": settle });
  const observer = new ResizeObserver(oncePerFrame(() => !closed && (settleBrush(), draw())));
  observer.observe(board.sheet);
  el.append(root);
  board.say("Choose a picture first.");
  show();
  takeMasks();
  return () => {
    closed = true;
    sendNow();
    stop();
    observer.disconnect();
    board.close();
  };
}

export default { initialize, render };
