// What a plan says, drawn on a picture: seen on any picture, light within dark. Places are pixels. No import, no export.

function alongPoints(context, points) {
  context.beginPath();
  points.forEach(([x, y], k) => (k ? context.lineTo(x, y) : context.moveTo(x, y)));
  if (points.length === 1) context.lineTo(...points[0]);
}

// The two wings of an arrow's head and its tip; null where it goes nowhere.
function headOf(points, size) {
  const [x, y] = points.at(-1), from = points.findLast(([a, b]) => Math.hypot(x - a, y - b) > 2);
  if (!from) return null;
  const length = Math.hypot(x - from[0], y - from[1]), [c, s] = [(x - from[0]) / length, (y - from[1]) / length];
  const wing = (side) => [x - size * (0.86 * c + side * 0.5 * s), y - size * (0.86 * s - side * 0.5 * c)];
  return [wing(-1), [x, y], wing(1)];
}

function drawPath(context, points, { colour = "#fff", width = 2.2, dashed = false } = {}) {
  const head = headOf(points, 11);
  context.lineCap = context.lineJoin = "round";
  for (const [style, w] of [["rgb(0 0 0 / 0.8)", width + 2.6], [colour, width]]) {
    context.strokeStyle = style;
    context.lineWidth = w;
    context.setLineDash(dashed ? [5, 6] : []);
    alongPoints(context, points);
    context.stroke();
    context.setLineDash([]);
    if (!head) continue;
    alongPoints(context, head);
    context.stroke();
  }
}

function drawDot(context, [x, y], radius, colour = "#fff") {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = colour;
  context.strokeStyle = "rgb(0 0 0 / 0.85)";
  context.lineWidth = 1.6;
  context.fill();
  context.stroke();
}

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

function patterned(context, tile, width, height) { // what is painted there, in the pattern
  context.globalCompositeOperation = "source-in";
  context.fillStyle = context.createPattern(tile, "repeat");
  context.fillRect(0, 0, width, height);
  context.globalCompositeOperation = "source-over";
}
