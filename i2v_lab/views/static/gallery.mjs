const SEARCH_FROM = 13; // a search box where there are so many
const PIECE = 4_000_000; // bytes of a file in one message: Jupyter's websocket takes no more than 10 MB

function render({ model, el }) {
  const tiles = new Map(); // by key; a tile stays when items come anew
  let closed = false, giving = null; // the upload that is on its way: a newer one takes its place

  const search = element("input", { type: "search", class: "i2v-input i2v-gallery-search", placeholder: "Find a picture", "aria-label": "Find a picture by its name", oninput: filter });
  const file = element("input", { type: "file", accept: "image/*", class: "i2v-hidden", tabindex: -1, "aria-hidden": "true", onchange: () => {
    if (file.files[0]) give(file.files[0]);
    file.value = ""; // so that the same file may be chosen again
  } });
  const upload = element("button", { type: "button", class: "i2v-button i2v-outlined", title: "Choose a picture of your own, or drop or paste one here", onclick: () => file.click() }, icon("upload"), "Upload");
  const grid = element("div", { class: "i2v-gallery-grid", role: "radiogroup" });
  const none = element("p", { class: "i2v-gallery-none", hidden: true });
  const name = element("span", { class: "i2v-gallery-name", "aria-hidden": "true" });
  const error = element("p", { class: "i2v-gallery-error", role: "alert" });
  const curtain = element("div", { class: "i2v-gallery-curtain", "aria-hidden": "true" }, "Drop the picture here");
  const root = element("div", { class: "i2v i2v-gallery", tabindex: -1 },
    element("div", { class: "i2v-gallery-head" }, search, name, upload, file), grid, none, error, curtain);

  // ---- tiles; their pictures are made when they come into sight
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      entry.target.seen ||= entry.isIntersecting;
      if (entry.isIntersecting) picture(entry.target);
    }
  }, { root: grid, rootMargin: "100px" });

  function picture(tile) {
    const thumb = tile.item.thumb;
    if (!thumb?.byteLength || !tile.seen || (tile.shown && sameBytes(tile.shown, thumb))) return; // all thumbnails come anew with each chunk
    const image = tile.querySelector("img");
    if (tile.shown) URL.revokeObjectURL(image.src);
    tile.shown = thumb;
    image.src = URL.createObjectURL(blobOf(thumb));
    image.hidden = false;
  }

  function tileOf(item) {
    let tile = tiles.get(item.key);
    if (!tile) {
      tile = element("button", { type: "button", role: "radio", class: "i2v-gallery-tile", tabindex: -1,
        onclick: () => choose(tile.item.key), onpointerenter: () => (name.textContent = tile.item.name), onpointerleave: () => named() },
        element("img", { alt: "", hidden: true, draggable: "false" }));
      tiles.set(item.key, tile);
      seen.observe(tile);
    }
    tile.item = item;
    if (tile.title !== item.name) {
      tile.title = item.name;
      tile.setAttribute("aria-label", item.name);
    }
    picture(tile);
    return tile;
  }

  function setItems() {
    const items = model.get("items") || [];
    const keys = new Set(items.map((item) => item.key));
    for (const [key, tile] of tiles) if (!keys.has(key)) drop(key, tile);
    items.map(tileOf).forEach((tile, k) => grid.children[k] !== tile && grid.insertBefore(tile, grid.children[k] ?? null));
    search.hidden = items.length < SEARCH_FROM;
    root.classList.toggle("i2v-searchable", !search.hidden);
    filter();
    setValue();
  }

  function drop(key, tile) {
    seen.unobserve(tile);
    if (tile.shown) URL.revokeObjectURL(tile.querySelector("img").src);
    tile.remove();
    tiles.delete(key);
  }

  function filter() {
    const words = search.hidden ? [] : search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const tile of grid.children) tile.hidden = !words.every((word) => tile.item.name.toLowerCase().includes(word));
    none.hidden = visible().length > 0;
    none.textContent = grid.children.length ? `No picture is called \u201c${search.value.trim()}\u201d.` : "No pictures yet. Upload one, or drop it here.";
    roving();
  }

  // ---- choosing
  const visible = () => [...grid.children].filter((tile) => !tile.hidden);

  function roving() { // one stop for Tab: the chosen tile, or the first
    const shown = visible(), chosen = tiles.get(model.get("value"));
    const stop = chosen && !chosen.hidden ? chosen : shown[0];
    for (const tile of grid.children) tile.tabIndex = tile === stop ? 0 : -1;
  }

  function named() {
    name.textContent = tiles.get(model.get("value"))?.item.name ?? "";
  }

  function setValue() {
    const value = model.get("value");
    for (const tile of grid.children) tile.setAttribute("aria-checked", tile.item.key === value);
    roving();
    named();
    reveal();
  }

  function reveal() { // only the grid scrolls, never the page
    const tile = tiles.get(model.get("value"));
    if (!tile || tile.hidden) return;
    const [top, bottom] = [tile.offsetTop, tile.offsetTop + tile.offsetHeight];
    if (top < grid.scrollTop || bottom > grid.scrollTop + grid.clientHeight) grid.scrollTop = top - (grid.clientHeight - tile.offsetHeight) / 2;
  }

  function choose(key) {
    setTrait(model, "value", key);
    setValue();
  }

  function columns() {
    const shown = visible();
    return Math.max(1, shown.findIndex((tile) => tile.offsetTop > shown[0].offsetTop) === -1 ? shown.length : shown.findIndex((tile) => tile.offsetTop > shown[0].offsetTop));
  }

  root.addEventListener("keydown", (event) => {
    keepKeys(event);
    const shown = visible(), at = shown.indexOf(event.target);
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - columns(), ArrowDown: at + columns(), Home: 0, End: shown.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const tile = shown[clamp(to, 0, shown.length - 1)];
    choose(tile.item.key);
    tile.focus();
  });

  // ---- one's own file
  function fail(text) {
    error.textContent = text;
    setTrait(model, "error", text);
  }

  async function give(picked) {
    const limit = model.get("max_bytes");
    if (picked.type && !picked.type.startsWith("image/")) return fail(`${picked.name} is no picture (${picked.type})`);
    if (picked.size > limit) return fail(`${picked.name} is over ${Math.floor(limit / 1e6)} MB`);
    if (!picked.size) return fail(`${picked.name} is empty`);
    fail("");
    const id = (giving = `${Date.now()} ${Math.random()}`);
    upload.setAttribute("aria-busy", "true");
    try {
      for (let start = 0; start < picked.size && !closed && giving === id; start += PIECE) {
        const piece = await picked.slice(start, start + PIECE).arrayBuffer();
        model.send({ kind: "file", id, name: picked.name || "pasted picture", start, last: start + PIECE >= picked.size }, undefined, [piece]);
      }
    } catch {
      fail(`${picked.name} cannot be read`);
    }
    if (giving === id) upload.removeAttribute("aria-busy");
  }

  const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const pull = (on) => root.classList.toggle("i2v-dropping", on);
  for (const kind of ["dragenter", "dragover"]) root.addEventListener(kind, (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    event.dataTransfer.dropEffect = "copy";
    pull(true);
  });
  root.addEventListener("dragleave", (event) => !root.contains(event.relatedTarget) && pull(false));
  root.addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    pull(false);
    if (event.dataTransfer.files[0]) give(event.dataTransfer.files[0]);
  });
  root.addEventListener("paste", (event) => {
    const picked = event.clipboardData?.files?.[0];
    if (!picked) return;
    event.preventDefault();
    event.stopPropagation();
    give(picked);
  });

  const stop = listen(model, {
    "change:items": setItems,
    "change:value": setValue,
    "change:error": () => (error.textContent = model.get("error")),
    "change:label": () => grid.setAttribute("aria-label", model.get("label")),
  });
  const sized = new ResizeObserver(reveal); // a view is made before it has a place on the page
  sized.observe(grid);
  grid.setAttribute("aria-label", model.get("label"));
  error.textContent = model.get("error");
  el.append(root);
  setItems();

  return () => {
    closed = true;
    stop();
    seen.disconnect();
    sized.disconnect();
    for (const [key, tile] of tiles) drop(key, tile);
  };
}

export default { initialize, render };
