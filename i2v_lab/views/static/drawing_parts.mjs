// What is drawn, as data: paths with few points, times, areas, and how each is told in words. No import, no export.
// Places are fractions of the picture; `ratio` is its width by its height.

const KINDS = { arrows: "arrow", still: "still", regions: "region", field: "motion field" };
const BRUSH = 0.08; // a stroke's width where none is said, of the picture's shorter side
const MOST = { arrows: 64, still: 64, regions: 16 };
const round = (x) => Math.round(x * 1000) / 1000;
const roundAll = (points) => points.map(([x, y]) => [round(x), round(y)]);
const gap = ([x, y], [a, b], ratio) => Math.hypot((x - a) * Math.max(1, ratio), (y - b) * Math.max(1, 1 / ratio)); // in shorter sides
const fresh = (drawn) => ({ arrows: drawn.arrows || [], still: drawn.still || [], regions: drawn.regions || [], field: drawn.field ?? null });
const isEmpty = (plan) => !(plan.arrows.length || plan.still.length || plan.regions.length || plan.field);

// Without what has its default, and always in the same order: two plans that say the same are the same text.
function plainText(plan) {
  const bare = (value) => {
    if (Array.isArray(value)) return value.map(bare);
    if (!value || typeof value !== "object") return value;
    return Object.fromEntries(Object.keys(value).sort().filter((k) => value[k] != null && value[k] !== false).map((k) => [k, bare(value[k])]));
  };
  return JSON.stringify(bare(fresh(plan)));
}

// Ramer, Douglas and Peucker: the points without which the path would be further than `far` from what was drawn.
function fewer(points, far, ratio) {
  if (points.length < 3) return points;
  const [a, b] = [points[0], points.at(-1)], wide = Math.max(1, ratio), high = Math.max(1, 1 / ratio);
  const [dx, dy] = [(b[0] - a[0]) * wide, (b[1] - a[1]) * high], square = dx * dx + dy * dy;
  let most = -1, at = 0;
  for (let k = 1; k < points.length - 1; k++) {
    const [px, py] = [(points[k][0] - a[0]) * wide, (points[k][1] - a[1]) * high];
    const t = square ? clamp((px * dx + py * dy) / square, 0, 1) : 0;
    const d = Math.hypot(px - t * dx, py - t * dy);
    if (d > most) [most, at] = [d, k];
  }
  if (most <= far) return [a, b];
  return [...fewer(points.slice(0, at + 1), far, ratio).slice(0, -1), ...fewer(points.slice(at), far, ratio)];
}

function simplified(points, far, most, ratio) {
  let found = fewer(points, far, ratio);
  while (found.length > most) found = fewer(points, (far *= 1.4), ratio);
  return roundAll(found);
}

// An arrow moves evenly along its path: the time of each point is how much of the way it is. null: the model's own, the whole clip.
function timesOf(points, start, end, ratio) {
  if (points.length < 2 || (points.length === 2 && start <= 0 && end >= 1)) return null;
  const ways = points.map((p, k) => (k ? gap(p, points[k - 1], ratio) : 0)), n = points.length - 1;
  const total = ways.reduce((a, b) => a + b, 0);
  let way = 0;
  const at = ways.map((w, k) => start + (end - start) * (total ? (way += w) / total : k / n));
  const least = Math.min(0.001, (end - start) / (2 * n));
  for (let k = 1; k <= n; k++) at[k] = Math.max(at[k], at[k - 1] + least); // two points on one spot
  const over = at[n] - end;
  return at.map((t, k) => Math.round(1e4 * (over > 0 ? start + ((t - start) * (end - start)) / (at[n] - start) : t)) / 1e4);
}

const spanOf = (arrow) => (arrow.times ? [arrow.times[0], arrow.times.at(-1)] : [0, 1]);

// The same arrow with other points. Times that a script has set are kept; even ones stay even.
function withPoints(arrow, points, ratio) {
  const [start, end] = spanOf(arrow), own = arrow.times, even = timesOf(arrow.points, start, end, ratio);
  const scripted = own && own.length === points.length && (!even || own.some((t, k) => Math.abs(t - even[k]) > 0.02));
  return { points, times: points.length < 2 ? null : scripted ? own : timesOf(points, start, end, ratio) };
}

function withSpan(arrow, start, end, ratio) {
  const [a, b] = spanOf(arrow), even = timesOf(arrow.points, a, b, ratio);
  const scripted = arrow.times && (!even || arrow.times.some((t, k) => Math.abs(t - even[k]) > 0.02));
  const times = scripted ? arrow.times.map((t) => round(start + ((t - a) / (b - a)) * (end - start))) : timesOf(arrow.points, start, end, ratio);
  return { ...arrow, times };
}

// A bit further than the last point, the way the arrow goes: a pin to the right, and back from the picture's edge.
function furtherOn(points, ratio) {
  const [wide, high] = [Math.max(1, ratio), Math.max(1, 1 / ratio)], [x, y] = points.at(-1);
  const from = points.findLast((p) => gap(p, [x, y], ratio) > 0.001) || [x - 1, y];
  const way = Math.atan2((y - from[1]) * high, (x - from[0]) * wide);
  const places = [0, 1, -1, 2].map((turn) => way + (turn * Math.PI) / 2).map((a) => [x + (0.12 * Math.cos(a)) / wide, y + (0.12 * Math.sin(a)) / high]);
  return places.find((p) => p.every((c) => c >= 0 && c <= 1)) || [x, y].map((c) => clamp(c, 0, 1));
}

// A short arrow in the middle, or so far above or beneath that it begins on no other.
function freePlace(arrows, ratio) {
  const starts = [0, 1, -1, 2, -2, 3, -3, 4, -4].flatMap((k) => [[0.4, 0.5 + 0.1 * k], [0.2, 0.5 + 0.1 * k], [0.7, 0.5 + 0.1 * k]]);
  const order = [0, 1, 2].flatMap((column) => starts.filter((_, k) => k % 3 === column));
  const [x, y] = order.find((p) => arrows.every((a) => gap(a.points[0], p, ratio) > 0.08)) || order[0];
  return [[x, y], [x + 0.2, y]];
}

const sameStroke = (a, b) => Boolean(b && !b.erase && a.width === (b.width ?? BRUSH) && JSON.stringify(a.points) === JSON.stringify(b.points));

const areaOf = (plan, { kind, index }) => (kind === "still" ? plan.still[index] : plan.regions[index]?.area);

function shifted(points, dx, dy, inside = false) { // inside: the first point stays in the picture
  if (inside) {
    const [x, y] = points[0];
    [dx, dy] = [clamp(x + dx, 0, 1) - x, clamp(y + dy, 0, 1) - y];
  }
  return points.map(([x, y]) => [round(clamp(x + dx, -1, 2)), round(clamp(y + dy, -1, 2))]);
}

function shiftedArea(area, dx, dy) {
  if (area.strokes) return { strokes: area.strokes.map((s) => ({ ...s, points: shifted(s.points, dx, dy) })) };
  if (area.polygon) return { polygon: shifted(area.polygon, dx, dy) };
  if (!area.box) return area;
  const [l, t, r, b] = area.box, [x, y] = [clamp(dx, -l, 1 - r), clamp(dy, -t, 1 - b)];
  return { box: [l + x, t + y, r + x, b + y].map(round) };
}

// The area in one colour, as large as the context. mask: the picture of a mask file, clear outside of it.
function fillArea(context, area, width, height, mask = null, style = "#000") {
  const place = ([x, y]) => [x * width, y * height];
  context.globalCompositeOperation = "source-over";
  context.fillStyle = context.strokeStyle = style;
  if (area.box) {
    const [l, t, r, b] = area.box;
    context.fillRect(l * width, t * height, (r - l) * width, (b - t) * height);
  } else if (area.polygon) {
    alongPoints(context, area.polygon.map(place));
    context.fill();
  } else if (area.mask && mask) context.drawImage(mask, 0, 0, width, height);
  context.lineCap = context.lineJoin = "round";
  for (const stroke of area.strokes || []) {
    context.globalCompositeOperation = stroke.erase ? "destination-out" : "source-over";
    context.lineWidth = (stroke.width ?? BRUSH) * Math.min(width, height);
    if (stroke.points.every((p) => p.join() === stroke.points[0].join())) { // a dab: a line of no length is not drawn
      context.beginPath();
      context.arc(...place(stroke.points[0]), context.lineWidth / 2, 0, 2 * Math.PI);
      context.fill();
      continue;
    }
    alongPoints(context, stroke.points.map(place));
    context.stroke();
  }
  context.globalCompositeOperation = "source-over";
}

// Which part of the picture an area is, 0..1, within which bounds, and whether a place is in it. An area is never changed: looked at once.
const SURVEYED = new WeakMap();

function surveyed(area, ratio, mask = null) {
  if (area.mask && !mask) return { share: 0, bounds: null, covers: () => false };
  const key = mask || area, known = SURVEYED.get(key);
  if (known?.ratio === ratio) return known;
  const height = Math.round(192 * Math.max(1, 1 / ratio)), width = Math.round(192 * Math.max(1, ratio));
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  fillArea(context, area, width, height, mask);
  const data = context.getImageData(0, 0, width, height).data, inside = new Uint8Array(width * height);
  let [count, left, top, right, bottom] = [0, width, height, 0, 0];
  for (let i = 0; i < inside.length; i++) {
    if (data[4 * i + 3] <= 127) continue;
    const x = i % width, y = (i - x) / width;
    inside[i] = 1;
    count++;
    [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x + 1), Math.max(bottom, y + 1)];
  }
  const covers = ([x, y]) => x >= 0 && y >= 0 && x <= 1 && y <= 1 && inside[Math.min(height - 1, Math.floor(y * height)) * width + Math.min(width - 1, Math.floor(x * width))] > 0;
  const found = { ratio, share: count / inside.length, bounds: count ? [left / width, top / height, right / width, bottom / height] : null, covers };
  SURVEYED.set(key, found);
  return found;
}

const share = (x) => `${Math.round(100 * x)}\u00a0%`;
const shareOf = (x) => (x >= 0.0095 || x === 0 ? share(x) : x < 0.0005 ? "less than 0.1\u00a0%" : `${(100 * x).toFixed(1)}\u00a0%`);

// "20 % to the right and 5 % down": of the picture's width and of its height.
function wayInWords(points) {
  const [x, y] = [0, 1].map((c) => Math.round(100 * (points.at(-1)[c] - points[0][c])));
  const parts = [x && `${Math.abs(x)}\u00a0% to the ${x > 0 ? "right" : "left"}`, y && `${Math.abs(y)}\u00a0% ${y > 0 ? "down" : "up"}`].filter(Boolean);
  if (points.length < 3) return parts.join(" and ") || (points.length < 2 ? "stays where it is" : "hardly moves");
  return `path of ${points.length} points, ends ${parts.join(" and ") || "where it began"}`;
}

function inWords(plan, { kind, index }, ratio, maskOf = () => null) {
  if (kind === "field") return `motion field: ${plan.field}`;
  const name = `${KINDS[kind]} ${index + 1}`;
  if (kind === "arrows") {
    const arrow = plan.arrows[index], [start, end] = spanOf(arrow), whole = start <= 0 && end >= 1;
    return `${name}: ${wayInWords(arrow.points)}${whole ? "" : `, from ${share(start)} to ${share(end)} of the clip`}`;
  }
  const area = areaOf(plan, { kind, index }), mask = maskOf(area);
  const size = area.mask && !mask ? `mask ${area.mask}` : `${shareOf(surveyed(area, ratio, mask).share)} of the picture${area.mask ? `, mask ${area.mask}` : ""}`;
  if (kind === "still") return `${name}: ${size}`;
  const { action, direction, amount } = plan.regions[index];
  return `${name}: ${[action, direction].filter(Boolean).join(", ")}${(amount ?? 1) !== 1 ? ` \u00d7 ${amount}` : ""}, ${size}`;
}

function itemsOf(plan) {
  const all = (kind) => plan[kind].map((_, index) => ({ kind, index }));
  return [...all("arrows"), ...all("still"), ...all("regions"), ...(plan.field ? [{ kind: "field", index: 0 }] : [])];
}

const sameItem = (a, b) => Boolean(a && b && a.kind === b.kind && a.index === b.index);

// ---- where names stand; places and boxes (left, top, right, bottom) are pixels from here on

function alongPath(points, step) { // places on a path, so close to each other
  return points.flatMap((p, k) => {
    if (!k) return [p];
    const [a, b] = points[k - 1], n = Math.max(1, Math.ceil(Math.hypot(p[0] - a, p[1] - b) / step));
    return Array.from({ length: n }, (_, i) => [a + ((p[0] - a) * (i + 1)) / n, b + ((p[1] - b) * (i + 1)) / n]);
  });
}

function behindStart(points, far) { // around an arrow's start, first where it does not go
  const [x, y] = points[0], to = points.find(([a, b]) => Math.hypot(a - x, b - y) > 2);
  const back = to ? Math.atan2(y - to[1], x - to[0]) : -0.75 * Math.PI;
  return [0, 1, -1, 2, -2, 3, -3].map((k, order) => ({ middle: [x + far * Math.cos(back + (k * Math.PI) / 4), y + far * Math.sin(back + (k * Math.PI) / 4)], cost: 0.02 * order }));
}

function inOrBeside(bounds, covers, w, h) { // within an area, or around it
  const [l, t, r, b] = [bounds[0] * w, bounds[1] * h, bounds[2] * w, bounds[3] * h], at = (u, v) => [l + u * (r - l), t + v * (b - t)];
  const within = [[0.5, 0.5], ...[0.5, 0.2, 0.8].flatMap((v) => [0.5, 0.2, 0.8].map((u) => [u, v]))].map(([u, v]) => at(u, v)).filter(([x, y]) => covers([x / w, y / h]));
  const around = [["x", 0.5, 0, -1], ["x", 0.5, 1, 1], ["y", 1, 0.5, 1], ["y", 0, 0.5, -1]].map(([axis, u, v, side]) => ({ middle: at(u, v), axis, side }));
  return [...within.map((middle, k) => ({ middle, cost: 0.02 * k })), ...around.map((each, k) => ({ ...each, cost: 0.2 + 0.02 * k }))];
}

// Of all places for a name the one that hides least: no arrow, no other name, little paint.
function leastHiding({ w, h, dots, areas, taken }, wide, high, tries) {
  let best = null;
  for (const { middle: [x, y], axis, side = 0, cost } of tries) {
    const mx = axis === "y" ? x + side * (wide / 2 + 4) : x, my = axis === "x" ? y + side * (high / 2 + 4) : y;
    const left = clamp(mx - wide / 2, 2, Math.max(2, w - wide - 2)), top = clamp(my - high / 2, 2, Math.max(2, h - high - 2));
    const box = [left, top, left + wide, top + high], holds = ([a, b], by) => a > left - by && a < box[2] + by && b > top - by && b < box[3] + by;
    const crossed = dots.reduce((sum, dot) => sum + holds(dot, 4), 0), names = taken.filter((o) => o[0] < box[2] + 2 && o[2] > left - 2 && o[1] < box[3] + 2 && o[3] > top - 2).length;
    const covered = (area) => [0.1, 0.3, 0.5, 0.7, 0.9].filter((u) => area.covers([(left + u * wide) / w, (top + high / 2) / h])).length / 5;
    const under = areas.reduce((sum, area) => sum + Math.min(1, (covered(area) * wide * high) / (area.share * w * h || 1)), 0); // of its paint
    const total = cost + 0.4 * crossed + 3 * names + under;
    if (!best || total < best.total) best = { total, box };
  }
  return best.box;
}
