// What the views of the inspector share. It stands after common.mjs and before a view's own text: no import, no export.

function shape(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// A share as a reader wants it: two figures, and never a 0 that is not one. What is too small for its byte is below `least`.
function percent(share, least = 0) {
  const p = 100 * share;
  if (share === 0 && least > 0) return `<\u00a0${percent(Math.max(least, 0.0001))}`;
  if (p > 0 && p < 0.01) return "<\u00a00.01\u00a0%";
  return `${p >= 9.95 ? p.toFixed(0) : p >= 0.995 ? p.toFixed(1) : p.toFixed(2)}\u00a0%`;
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const mib = (bytes) => {
  const m = bytes / 2 ** 20;
  return m >= 99.5 ? m.toFixed(0) : m >= 0.995 || m === 0 ? m.toFixed(1) : m.toFixed(2);
};
const seconds = (s) => (s >= 9.95 ? `${s.toFixed(0)} s` : s >= 0.995 ? `${s.toFixed(1)} s` : `${(1000 * s).toFixed(s < 0.00995 ? 1 : 0)} ms`);

// Round numbers from 0 to somewhat over the top, for an axis.
function ticks(top, count = 4) {
  const rough = (top || 1) / count, ten = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((k) => k * ten >= rough * 0.999) * ten;
  const n = Math.max(1, Math.ceil((top || 1) / step - 1e-9));
  return Array.from({ length: n + 1 }, (_, k) => +(k * step).toPrecision(10));
}

// Buttons of which one is down.
function segmented(label, options, onpick) {
  const buttons = options.map(([value, text, title]) =>
    element("button", { type: "button", class: "i2v-button", "aria-pressed": "false", "data-value": value, title, onclick: () => onpick(value) }, text));
  return {
    node: element("span", { class: "i2v-segmented", role: "group", "aria-label": label }, ...buttons),
    set(value) { for (const b of buttons) b.setAttribute("aria-pressed", String(b.dataset.value === value)); },
    allow(value, on) { buttons.find((b) => b.dataset.value === value).disabled = !on; },
  };
}

// A list to choose from, with its label in front. Its options are only replaced where they are other ones: an open list stays open.
function picker(label, onpick) {
  const select = element("select", { class: "i2v-select", "aria-label": label, onchange: () => onpick(select.value) });
  let known = "";
  return {
    node: element("label", { class: "i2v-picker" }, element("span", {}, label), select),
    fill(options, value) {
      const now = JSON.stringify(options);
      if (now !== known) select.replaceChildren(...options.map(([v, text]) => element("option", { value: v }, text)));
      known = now;
      select.value = value;
      select.disabled = options.length < 2;
    },
  };
}

// A picture with a drawing over it, as large as its place allows. The place keeps its size, whatever is in it.
function easel(label) {
  const image = element("img", { alt: "", draggable: "false", hidden: true });
  const canvas = element("canvas", { role: "img", "aria-label": label });
  const svg = shape("svg", { "aria-hidden": "true", preserveAspectRatio: "none" });
  const hint = element("p", { class: "i2v-easel-hint" });
  const sheet = element("div", { class: "i2v-sheet" }, image, canvas, svg);
  const node = element("div", { class: "i2v-easel i2v-empty" }, sheet, hint);
  let url = null, shown = null;
  image.onload = () => sheet.style.setProperty("--ratio", image.naturalWidth / image.naturalHeight);
  return {
    node, sheet, image, canvas, svg,
    picture(bytes) {
      if (bytes === shown) return;
      shown = bytes;
      const old = url, data = bytesOf(bytes);
      url = data.length ? URL.createObjectURL(new Blob([data], { type: "image/jpeg" })) : null;
      image.hidden = !url;
      if (url) image.src = url;
      else image.removeAttribute("src");
      if (old) URL.revokeObjectURL(old);
    },
    ratio(r) { if (image.hidden) sheet.style.setProperty("--ratio", r); },
    say(text) {
      hint.textContent = text;
      node.classList.toggle("i2v-empty", Boolean(text));
    },
    // Where the pointer is, 0..1 each.
    at(event) {
      const box = sheet.getBoundingClientRect();
      return [clamp((event.clientX - box.left) / box.width, 0, 0.99999), clamp((event.clientY - box.top) / box.height, 0, 0.99999)];
    },
    close() { if (url) URL.revokeObjectURL(url); },
  };
}

// One pixel for each cell; the style sheet enlarges it without smoothing, for there is nothing between two cells.
function heat(canvas, values, rows, cols, top, faint = 0.35, full = 0.92) {
  if (canvas.width !== cols || canvas.height !== rows) Object.assign(canvas, { width: cols, height: rows });
  const context = canvas.getContext("2d"), image = context.createImageData(cols, rows), out = image.data;
  for (let i = 0; i < rows * cols; i++) {
    const v = clamp(values[i] / top || 0, 0, 1), [r, g, b] = CIVIDIS[Math.round(255 * v)];
    out[4 * i] = r;
    out[4 * i + 1] = g;
    out[4 * i + 2] = b;
    out[4 * i + 3] = 255 * (faint + (full - faint) * v);
  }
  context.putImageData(image, 0, 0);
}

const CIVIDIS_CSS = `linear-gradient(90deg, ${Array.from({ length: 17 }, (_, k) => `rgb(${CIVIDIS[Math.round((k * 255) / 16)].join(" ")})`).join(", ")})`;

// The legend of a heat map: from 0 to its top, and a mark for what an even map would be.
function scaleBar() {
  const low = element("span"), high = element("span"), mark = element("i"), bar = element("b", {}, mark);
  bar.style.background = CIVIDIS_CSS;
  const node = element("div", { class: "i2v-scale" }, low, bar, high);
  return {
    node,
    set(lowText, highText, even = null, title = "") {
      low.textContent = lowText;
      high.textContent = highText;
      mark.hidden = !(even > 0 && even < 1);
      mark.style.left = `${100 * even}%`;
      bar.title = title;
    },
  };
}

// A frame around a place of a picture that is seen on any picture: white with black inside. Units are those of the drawing's viewBox.
function outline(x, y, width, height, strong = true) {
  const at = { x, y, width, height, fill: "none", "vector-effect": "non-scaling-stroke" };
  return [
    shape("rect", { ...at, stroke: "#fff", "stroke-width": strong ? 4 : 2, "stroke-opacity": strong ? 1 : 0.55 }),
    shape("rect", { ...at, stroke: "#000", "stroke-width": strong ? 1.6 : 0.8, "stroke-opacity": strong ? 1 : 0.6 }),
  ];
}

// Draws at most once for each picture on the screen, however many things have changed.
function oncePerFrame(draw) {
  let due = false;
  return () => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      draw();
    });
  };
}

// A table for those who do not see the drawing.
function hiddenTable(caption) {
  const node = element("table", { class: "i2v-hidden" });
  return {
    node,
    fill(head, rows) {
      node.replaceChildren(element("caption", {}, caption),
        element("thead", {}, element("tr", {}, ...head.map((h) => element("th", { scope: "col" }, h)))),
        element("tbody", {}, ...rows.map(([first, ...rest]) =>
          element("tr", {}, element("th", { scope: "row" }, String(first)), ...rest.map((cell) => element("td", {}, String(cell)))))));
    },
  };
}

// Asks Python one thing at a time. Answers go to every view of a model, and a model may have several: each has numbers of its own.
function asker(model, onanswer) {
  const own = Math.random().toString(36).slice(2);
  let waiting = null, count = 0;
  return {
    ask(name, question) { // not while an answer is on its way; one that does not come is given up
      if (waiting && Date.now() - waiting.since < 8000) return;
      waiting = { name, since: Date.now(), id: `${own} ${++count}` };
      model.send({ ask: question, id: waiting.id });
    },
    heard(message, buffers) {
      if (!waiting || message?.id !== waiting.id) return; // of another view, of an earlier run, or too late
      const { name } = waiting;
      waiting = null;
      onanswer(name, message, buffers);
    },
    forget() { waiting = null; },
  };
}
