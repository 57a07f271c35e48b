// The parts of the attention view: maps, and what is drawn beside the pictures. None of them knows what is chosen.

const floats = (value) => new Float32Array(bytesOf(value).slice().buffer); // a copy: views of four bytes must start at one of four
const rowOf = (maps, tops, k, m) => Float32Array.from({ length: m }, (_, i) => (maps[k * m + i] / 255) * tops[k]);
const columnOf = (maps, tops, k, m) => Float32Array.from(tops, (top, i) => (maps[i * m + k] / 255) * top);

// The maps of one run: those that came, and those that are asked for.
function mapStore(model, onchange) {
  let run = undefined, known = new Map();
  const questions = asker(model, (name, message, buffers) => {
    if (message.problem) known.set(name, { problem: message.problem });
    else if (name.startsWith("d")) keep({ ...message, maps: buffers[0], tops: buffers[1], frames: buffers[2], frame_tops: buffers[3] });
    else known.set(name, { maps: bytesOf(buffers[0]), tops: floats(buffers[1]) });
    onchange();
  });

  function keep(block) { // of one step; each layer and head of it becomes a map of its own
    const maps = bytesOf(block.maps), tops = floats(block.tops), [L, H] = [block.layers.length, block.heads.length];
    const framed = block.frames ? bytesOf(block.frames) : null, frameTops = framed && floats(block.frame_tops);
    const cut = (all, k) => all.subarray((k * all.length) / (L * H), ((k + 1) * all.length) / (L * H));
    block.layers.forEach((layer, i) => block.heads.forEach((head, j) => {
      const k = i * H + j;
      known.set(`d ${block.step} ${layer} ${head}`, { maps: cut(maps, k), tops: cut(tops, k), frames: framed && cut(framed, k), frameTops: framed && cut(frameTops, k) });
    }));
  }

  function need(name, question) { // the map, its problem, or undefined while it is on its way
    if (!known.has(name)) questions.ask(name, { run, ...question });
    return known.get(name);
  }

  return {
    heard: questions.heard,
    turnTo(next) {
      if (next === run) return;
      [run, known] = [next, new Map()];
      questions.forget();
    },
    keep(block) { if (block.maps && block.run === run) keep(block); },
    decoder: (step, layer, head) => step && need(`d ${step} ${layer} ${head}`, { what: "decoder", step, layer, head }),
    encoder: (layer, head) => need(`e ${layer} ${head}`, { what: "encoder", layer, head }),
    patch: (question) => need(`p ${JSON.stringify(question)}`, { what: "patch", ...question }),
  };
}

// Names to choose one of. Buttons are made once for the same names; after that only the pressed one changes.
function choiceChips(label, onpick) {
  const node = element("div", { class: "i2v-chips", role: "group", "aria-label": label });
  let known = null;
  return {
    node,
    set(names, chosen) {
      if (known !== names.join("\n")) node.replaceChildren(...names.map((name, k) => element("button", { type: "button", class: "i2v-chip", onclick: () => onpick(k) }, name)));
      known = names.join("\n");
      [...node.children].forEach((button, k) => button.setAttribute("aria-pressed", String(k === chosen)));
    },
    clear() {
      node.replaceChildren();
      known = null;
    },
  };
}

// Words with their shares; those after the prompt's are of another kind.
function shareChips() {
  const node = element("div", { class: "i2v-chips" });
  let known = null;
  return {
    node,
    set(names, prompt, shares, least) {
      if (known !== names.join("\n")) node.replaceChildren(...names.map((name, k) => element("span", { class: `i2v-chip${k >= prompt ? " i2v-other" : ""}` }, name, element("small"))));
      known = names.join("\n");
      const top = Math.max(...shares, 1e-9);
      [...node.children].forEach((chip, k) => {
        chip.lastChild.textContent = percent(shares[k], least);
        chip.style.setProperty("--share", `${Math.round(100 * clamp(shares[k] / top, 0, 1))}%`);
      });
    },
    clear() {
      node.replaceChildren();
      known = null;
    },
  };
}

// How much is read of each frame.
function frameBars() {
  const title = element("h5"), node = element("div", { class: "i2v-bars", role: "img" });
  return {
    title, node,
    set(shares, own) {
      const T = shares.length, top = Math.max(...shares), most = shares.indexOf(top);
      if (node.children.length !== T + 1) node.replaceChildren(...Array.from({ length: T }, () => element("b", {}, element("i"))), element("em"));
      node.style.setProperty("--even", `${(100 / T / top).toFixed(1)}%`);
      shares.forEach((share, t) => {
        const bar = node.children[t];
        bar.firstChild.style.height = `${(100 * share) / top}%`;
        bar.title = `frame ${t + 1}: ${percent(share)}`;
        bar.toggleAttribute("data-own", t === own);
      });
      title.textContent = `Frames (self-attention): most of frame ${most + 1}, ${percent(top)}`;
      node.setAttribute("aria-label", `shares of frames 1 to ${T}; most of frame ${most + 1}, ${percent(top)}; its own, ${own + 1}, ${percent(shares[own])}`);
    },
    clear(text) {
      title.textContent = text;
      node.replaceChildren();
      node.removeAttribute("aria-label");
    },
  };
}

// Who reads one thing: a row for each part of a frame, a column for each frame.
function readerTable() {
  const node = element("table", { class: "i2v-matrix" });
  let known = null;
  function build(parts, T) {
    const every = Math.ceil(T / 16), frames = Array.from({ length: T }, (_, t) => t);
    const head = element("tr", {}, element("th", {}, "frame"), ...frames.map((t) => element("th", { scope: "col" }, t % every === 0 ? String(t + 1) : "")));
    const rows = parts.map((name) => element("tr", {}, element("th", { scope: "row" }, name), ...frames.map(() => element("td", {}, element("span", { class: "i2v-hidden" })))));
    node.replaceChildren(element("caption", { class: "i2v-hidden" }, "Share that each part of each frame reads of it"), element("thead", {}, head), element("tbody", {}, ...rows));
  }
  return {
    node,
    set(parts, T, shares, tops, top) { // shares of the tokens: the parts of frame 1, those of frame 2, and so on
      const key = `${T} ${parts.join()}`;
      if (known !== key) build(parts, T);
      known = key;
      parts.forEach((name, p) => {
        const cells = node.tBodies[0].rows[p].cells;
        for (let t = 0; t < T; t++) {
          const k = t * parts.length + p, cell = cells[t + 1], text = percent(shares[k], tops[k] / 510);
          cell.style.background = `rgb(${CIVIDIS[Math.round(255 * clamp(shares[k] / top, 0, 1))].join(" ")})`;
          cell.title = `${name}, frame ${t + 1}: ${text}`;
          cell.firstChild.textContent = text;
        }
      });
    },
    clear() {
      node.replaceChildren();
      known = null;
    },
  };
}
