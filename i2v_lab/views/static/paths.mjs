// Where a point goes, drawn on a picture: seen on any picture, light within dark. Places are pixels. No import, no export.

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
