// Pictures of which several are chosen.

function render({ model, el }) {
  const tiles = new Map(); // by key
  const search = element("input", { type: "search", class: "i2v-input i2v-gallery-search", placeholder: "Find a picture", "aria-label": "Find a picture by its name", oninput: filter });
  const name = element("span", { class: "i2v-gallery-name", "aria-live": "polite" });
  const none = element("button", { type: "button", class: "i2v-button i2v-outlined", onclick: () => choose([]) }, "None");
  const grid = element("div", { class: "i2v-gallery-grid", role: "group", "aria-label": "Pictures" });
  const root = element("div", { class: "i2v i2v-gallery i2v-searchable" }, element("div", { class: "i2v-gallery-head" }, search, name, none), grid);
  const seen = new IntersectionObserver((entries) => entries.forEach((entry) => entry.isIntersecting && picture(entry.target, (entry.target.seen = true))), { root: grid, rootMargin: "100px" });

  function picture(tile) {
    const size = tile.item.thumb?.byteLength ?? 0, image = tile.firstChild;
    if (!size || tile.shown || !tile.seen) return;
    tile.shown = URL.createObjectURL(blobOf(tile.item.thumb));
    image.src = tile.shown;
    image.hidden = false;
  }

  function choose(value) {
    setTrait(model, "value", value);
    settle();
  }

  function toggle(key) {
    const value = model.get("value");
    choose(value.includes(key) ? value.filter((each) => each !== key) : [...value, key]);
  }

  function settle() {
    const value = model.get("value");
    for (const [key, tile] of tiles) tile.setAttribute("aria-checked", value.includes(key));
    const names = value.map((key) => tiles.get(key)?.item.name).filter(Boolean);
    name.textContent = names.length > 2 ? `${names.length} chosen` : names.join(", ") || "none chosen";
    name.title = names.join(", ");
    none.disabled = !value.length;
  }

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const tile of grid.children) tile.hidden = !words.every((word) => tile.item.name.toLowerCase().includes(word));
  }

  function setItems() {
    for (const item of model.get("items") || []) {
      if (!tiles.has(item.key)) {
        const tile = element("button", { type: "button", role: "checkbox", class: "i2v-gallery-tile", title: item.name, "aria-label": item.name, onclick: () => toggle(item.key) }, element("img", { alt: "", hidden: true, draggable: "false" }));
        tiles.set(item.key, tile);
        grid.append(tile);
        seen.observe(tile);
      }
      tiles.get(item.key).item = item;
      picture(tiles.get(item.key));
    }
    filter();
    settle();
  }

  root.addEventListener("keydown", (event) => {
    keepKeys(event);
    const shown = [...grid.children].filter((tile) => !tile.hidden), at = shown.indexOf(event.target);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: shown.length - 1 }[event.key];
    if (at < 0 || to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    shown[clamp(to, 0, shown.length - 1)].focus();
  });
  const stop = listen(model, { "change:items": setItems, "change:value": settle });
  el.append(root);
  setItems();
  return () => {
    stop();
    seen.disconnect();
    for (const tile of tiles.values()) if (tile.shown) URL.revokeObjectURL(tile.shown);
  };
}

export default { initialize, render };
