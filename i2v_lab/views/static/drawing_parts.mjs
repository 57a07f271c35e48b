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

// The area in one colour, as large as the context.
function fillArea(context, area, width, height, style = "#000") {
  const place = ([x, y]) => [x * width, y * height];
  context.globalCompositeOperation = "source-over";
  context.fillStyle = context.strokeStyle = style;
  if (area.box) {
    const [l, t, r, b] = area.box;
    context.fillRect(l * width, t * height, (r - l) * width, (b - t) * height);
  } else if (area.polygon) {
    alongPoints(context, area.polygon.map(place));
    context.fill();
  }
  context.lineCap = context.lineJoin = "round";
  for (const stroke of area.strokes || []) {
    context.globalCompositeOperation = stroke.erase ? "destination-out" : "source-over";
    context.lineWidth = (stroke.width ?? BRUSH) * Math.min(width, height);
    alongPoints(context, stroke.points.map(place));
    context.stroke();
  }
  context.globalCompositeOperation = "source-over";
}

// Which part of the picture an area is, 0..1, and whether a place is in it.
function surveyed(area, ratio) {
  const height = Math.round(96 * Math.max(1, 1 / ratio)), width = Math.round(96 * Math.max(1, ratio));
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  fillArea(context, area, width, height);
  const data = context.getImageData(0, 0, width, height).data, covers = (i) => data[4 * i + 3] > 127;
  let count = 0;
  for (let i = 0; i < width * height; i++) count += covers(i);
  const cell = (v, n) => clamp(Math.floor(v * n), 0, n - 1);
  return { share: count / (width * height), covers: ([x, y]) => covers(cell(y, height) * width + cell(x, width)) };
}

const share = (x) => `${Math.round(100 * x)}\u00a0%`;

// "to the right and up, 20 % of the width"
function wayInWords(points, ratio) {
  const [dx, dy] = [points.at(-1)[0] - points[0][0], (points.at(-1)[1] - points[0][1]) / ratio], far = Math.hypot(dx, dy);
  const around = points.some((p) => gap(p, points[0], ratio) > 0.005);
  if (far < 0.005) return around ? "there and back" : "stays where it is";
  const side = Math.abs(dx) > 0.38 * far ? (dx > 0 ? "to the right" : "to the left") : "", rise = Math.abs(dy) > 0.38 * far ? (dy > 0 ? "down" : "up") : "";
  return `${[side, rise].filter(Boolean).join(" and ")}, ${share(far)} of the width`;
}

function inWords(plan, { kind, index }, ratio) {
  if (kind === "field") return `motion field: ${plan.field}`;
  const name = `${KINDS[kind]} ${index + 1}`;
  if (kind === "arrows") {
    const arrow = plan.arrows[index], [start, end] = spanOf(arrow), whole = start <= 0 && end >= 1;
    return `${name}: ${wayInWords(arrow.points, ratio)}${whole ? "" : `, from ${share(start)} to ${share(end)} of the clip`}`;
  }
  const area = areaOf(plan, { kind, index });
  const size = area.mask ? `mask ${area.mask}` : `${share(surveyed(area, ratio).share)} of the picture`;
  if (kind === "still") return `${name}: ${size}`;
  const { action, direction, amount } = plan.regions[index];
  return `${name}: ${[action, direction].filter(Boolean).join(", ")}${(amount ?? 1) !== 1 ? ` \u00d7 ${amount}` : ""}, ${size}`;
}

function itemsOf(plan) {
  const all = (kind) => plan[kind].map((_, index) => ({ kind, index }));
  return [...all("arrows"), ...all("still"), ...all("regions"), ...(plan.field ? [{ kind: "field", index: 0 }] : [])];
}

const sameItem = (a, b) => Boolean(a && b && a.kind === b.kind && a.index === b.index);

// Still: slanted lines on blue; a region: dots on orange. They differ without colour, too.
function patternTile(kind) {
  const side = kind === "still" ? 10 : 9, tile = new OffscreenCanvas(side, side), context = tile.getContext("2d");
  if (kind === "still") {
    context.fillStyle = "rgb(24 100 190 / 0.42)";
    context.fillRect(0, 0, side, side);
    context.strokeStyle = "rgb(225 240 255 / 0.95)";
    context.lineWidth = 1.6;
    for (const k of [-side, 0, side]) {
      context.beginPath();
      context.moveTo(k, side);
      context.lineTo(k + side, 0);
      context.stroke();
    }
  } else {
    context.fillStyle = "rgb(200 105 0 / 0.42)";
    context.fillRect(0, 0, side, side);
    context.fillStyle = "rgb(255 240 205 / 0.95)";
    context.beginPath();
    context.arc(side / 2, side / 2, 1.5, 0, 2 * Math.PI);
    context.fill();
  }
  return tile;
}
