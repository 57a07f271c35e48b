// Plain functions that every view shares. This text is put before a view's own: no import, no export.

// element("button", {class: "a", onclick: f, "aria-label": "b"}, child, "text")
function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

const ICONS = {
  play: "M4 2.5v11l9-5.5z",
  pause: "M4 2.5h3v11H4zM9 2.5h3v11H9z",
  first: "M3 3h2v10H3zM13 3v10L6 8z",
  previous: "M10.5 3v10L4 8z",
  next: "M5.5 3v10L12 8z",
  last: "M11 3h2v10h-2zM3 3v10l7-5z",
  loop: "M5 3h6a3 3 0 0 1 3 3v1h-1.5V6A1.5 1.5 0 0 0 11 4.5H5V7L1.5 3.75 5 .5zM11 13H5a3 3 0 0 1-3-3V9h1.5v1A1.5 1.5 0 0 0 5 11.5h6V9l3.5 3.25L11 15.5z",
  upload: "M8 1.5 12 6H9v5H7V6H4zM2 12.5h12V14H2z",
  plan: "M3.2 9.6a2.2 2.2 0 1 1-1.2 4 2.2 2.2 0 0 1 1.2-4zM6 9.2 10.3 4.9H7.5V3.3H13v5.5h-1.6V6L7.1 10.3z",
  undo: "M6.5 2v3H9a4.5 4.5 0 0 1 0 9H5v-1.6h4a2.9 2.9 0 0 0 0-5.8H6.5v3L2 5.8z",
  redo: "M9.5 2v3H7a4.5 4.5 0 0 0 0 9h4v-1.6H7a2.9 2.9 0 0 1 0-5.8h2.5v3L14 5.8z",
  delete: "M6 1.5h4V3h4v1.5h-1L12.2 14H3.8L3 4.5H2V3h4zM4.6 4.5l.6 8h5.6l.6-8z",
  difference: "M2 3h7v3h5v7H7v-3H2zM3.5 4.5v4H7V6h.5V4.5zM9 7.5v1L8.5 10v1.5h4v-4z",
};

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

function iconButton(name, label, onclick, extra = {}) {
  return element("button", { type: "button", class: "i2v-button i2v-icon", "aria-label": label, title: label, onclick, ...extra }, icon(name));
}

function setIcon(button, name, label) {
  if (button.dataset.icon === name) return;
  button.dataset.icon = name;
  button.replaceChildren(icon(name));
  button.setAttribute("aria-label", label);
  button.title = label;
}

// Bytes come from Python as a DataView (or as an ArrayBuffer, or as a typed array).
function bytesOf(value) {
  if (!value) return new Uint8Array(0);
  return value.buffer ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength) : new Uint8Array(value);
}

function sameBytes(a, b) {
  const [p, q] = [bytesOf(a), bytesOf(b)];
  return p.length === q.length && p.every((byte, i) => byte === q[i]);
}

const blobOf = (value, type = "image/jpeg") => new Blob([bytesOf(value)], { type });
const decodeImage = (value) => createImageBitmap(blobOf(value));
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const reducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// model.on for several traits at once; returns the function that undoes it.
function listen(model, handlers) {
  for (const [name, handler] of Object.entries(handlers)) model.on(name, handler);
  return () => Object.entries(handlers).forEach(([name, handler]) => model.off(name, handler));
}

// anywidget gives this module two seconds to load. On a page that is busier it gives up, for good: what Python says
// later is dropped. Then the model hears by itself, and Python is asked for the values of now; single messages are not repeated.
function initialize({ model }) {
  if (!model.widget_manager) return; // not Jupyter
  const whole = model.set({}); // Backbone returns the model itself, of which anywidget shows a few methods
  if (!whole?.comm || !whole._handle_comm_msg) return; // a page without a kernel
  whole._handle_comm_msg({ content: { data: { method: "none" } } }).catch(() => {
    let owner = whole;
    while (!Object.hasOwn(owner, "_handle_comm_msg")) owner = Object.getPrototypeOf(owner);
    const heard = Object.getPrototypeOf(owner)._handle_comm_msg; // what anywidget makes wait
    whole.comm.on_msg((message) => heard.call(whole, message));
    model.send({ do: "say again" });
  });
}

function setTrait(model, name, value) {
  if (model.get(name) === value) return;
  model.set(name, value);
  model.save_changes();
}

// A canvas with as many pixels as the screen has there; returns its context, scaled so that units are CSS pixels.
function fitCanvas(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(w / width, 0, 0, h / height, 0, 0);
  context.imageSmoothingQuality = "high";
  return context;
}

// cividis: ordered in lightness, and the same to the eye of nearly everybody.
const CIVIDIS_STOPS =
  "00224e00285b002e6a0533711c396f293f6e33446d3c4a6c45506c4d556c555b6d5c616e6467706b6d72727274787877807f78888578908b78979177a09875a89e73b0a571b9ab6dc2b369cbb965d3c05fdcc859e6d051efd748f8df3cfee838";
const CIVIDIS = (() => {
  const stop = (k, c) => parseInt(CIVIDIS_STOPS.slice(6 * k + 2 * c, 6 * k + 2 * c + 2), 16);
  return Array.from({ length: 256 }, (_, i) => {
    const at = (i / 255) * 31, k = Math.min(30, Math.floor(at));
    return [0, 1, 2].map((c) => Math.round(stop(k, c) + (stop(k + 1, c) - stop(k, c)) * (at - k)));
  });
})();

// Keys typed here are not commands of JupyterLab (Space, arrows, Enter, letters). Escape and shortcuts with Ctrl, Cmd or Alt pass.
function keepKeys(event) {
  if (!(event.ctrlKey || event.metaKey || event.altKey) && event.key !== "Escape" && event.key !== "Tab") event.stopPropagation();
}

// Says a text to screen readers, at most once a second: the newest one.
function announcer(node) {
  let timer = null, said = 0, text = "";
  return (next) => {
    text = next;
    timer ??= setTimeout(() => {
      timer = null;
      said = Date.now();
      if (node.textContent !== text) node.textContent = text;
    }, Math.max(0, 1000 - (Date.now() - said)));
  };
}

// "current" for screen readers: only the word true says it.
function markCurrent(node, on) {
  if (on) node.setAttribute("aria-current", "true");
  else node.removeAttribute("aria-current");
}

const FILM = 16; // frames of a strip at most

// A strip of frames to jump to. `paint(button, t)` puts frame t into its button, whenever the strip is filled.
// A slider stands beside every strip: it is the way for keys, and sixteen more stops would be in the way.
function filmStrip(strip, thumb, go, paint) {
  const node = element("div", { class: strip });
  let picks = [];
  return {
    node,
    fill(total) {
      const n = total > 1 ? Math.min(FILM, total) : 0;
      picks = Array.from({ length: n }, (_, k) => Math.round((k * (total - 1)) / (n - 1)));
      while (node.children.length > n) node.lastChild.remove();
      while (node.children.length < n) {
        const button = element("button", { type: "button", tabindex: -1, class: thumb, onclick: () => go(+button.dataset.frame) });
        node.append(button);
      }
      picks.forEach((t, k) => {
        const button = node.children[k];
        button.dataset.frame = t;
        button.setAttribute("aria-label", `Go to frame ${t + 1}`);
        button.title = `frame ${t + 1}`;
        paint(button, t);
      });
    },
    mark(frame) { // the one that is nearest
      const near = picks.reduce((best, t) => (Math.abs(t - frame) < Math.abs(best - frame) ? t : best), 0);
      for (const button of node.children) markCurrent(button, +button.dataset.frame === near);
    },
  };
}

// Calls `step` so many times a second, until it is stopped. Each start is a reel of its own; an older one ends by itself.
function ticker(rate, step) {
  let reel = 0, due = 0;
  function tick(now, mine) {
    if (mine !== reel) return;
    if (now >= due) {
      due = Math.max(due + 1000 / rate(), now); // a page that was hidden does not catch up
      step();
    }
    requestAnimationFrame((time) => tick(time, mine));
  }
  return {
    start() {
      const mine = ++reel;
      due = performance.now() + 1000 / rate();
      requestAnimationFrame((time) => tick(time, mine));
    },
    stop() { reel++; },
  };
}
