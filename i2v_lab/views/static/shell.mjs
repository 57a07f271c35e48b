// Message numbers that were acted on: a panel may be on the page twice, and a file is handed over once.
const acted = new Set();

const label = (node, text) => text && node && node.getAttribute("aria-label") !== text && node.setAttribute("aria-label", text);
const put = (node, name, value) => node.getAttribute(name) !== value && node.setAttribute(name, value);
const labelOf = (row) => row.querySelector(":scope > .widget-label")?.textContent.trim() ?? "";

// What ipywidgets leave unsaid. Each rule writes only what is not there yet, or the observer would call itself for ever.
function nameControls(panel) {
  for (const row of panel.querySelectorAll(".widget-slider")) {
    const name = labelOf(row), readout = row.querySelector(".widget-readout");
    for (const handle of row.querySelectorAll(".noUi-handle")) {
      label(handle, name);
      if (readout) put(handle, "aria-valuetext", readout.textContent.trim()); // not 2.5000000000000004
    }
    if (readout) {
      label(readout, name && `${name}, value`);
      put(readout, "role", "textbox");
    }
  }
  for (const bar of panel.querySelectorAll(".widget-hprogress .progress")) {
    const filled = parseFloat(bar.querySelector(".progress-bar")?.style.width) || 0;
    put(bar, "role", "progressbar");
    label(bar, labelOf(bar.parentElement) || "Progress");
    put(bar, "aria-valuenow", String(Math.round(filled)));
  }
  for (const toggle of panel.querySelectorAll(".widget-toggle-button")) put(toggle, "aria-pressed", String(toggle.classList.contains("mod-active")));
  for (const row of panel.querySelectorAll(".jupyter-widgets.widget-inline-hbox")) {
    for (const input of row.querySelectorAll("input, textarea, select")) {
      if (!input.labels?.length && !input.hasAttribute("aria-label")) label(input, labelOf(row) || input.placeholder);
    }
  }
  for (const button of panel.querySelectorAll(".widget-upload")) { // "Load mix (0)" counts files, which is of no use to a reader
    for (const text of button.childNodes) if (text.nodeType === Node.TEXT_NODE && / \(\d+\)$/.test(text.data)) text.data = text.data.replace(/ \(\d+\)$/, "");
  }
  for (const image of panel.querySelectorAll("img.widget-image:not([alt])")) put(image, "alt", image.title || "");
  for (const node of panel.querySelectorAll('[title="null"]')) node.removeAttribute("title");
  for (const tab of panel.querySelectorAll(".jupyter-widget-tab > .widget-tab-contents")) put(tab, "role", "tabpanel");
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { // a page without https, or without the permission
    const area = element("textarea", { class: "i2v-hidden", readonly: true, "aria-hidden": "true" });
    const before = document.activeElement;
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before?.focus?.({ preventScroll: true });
    return done;
  }
}

function handOver(name, bytes) {
  const url = URL.createObjectURL(blobOf(bytes, "application/octet-stream"));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser reads it after the click
}

// Whether a widget or one inside it has sent something that the kernel has not dealt with, or holds something back meanwhile.
// ipywidgets say it in two fields of their own; without them no click waits.
function unsettled(widget) {
  const children = widget.get("children");
  return widget._pending_msgs > 0 || widget._msg_buffer != null || (Array.isArray(children) && children.some(unsettled));
}

function render({ model, el }) {
  const toast = element("div", { class: "i2v i2v-toast", role: "status" });
  // The line of status changes five times a second; a hidden copy of it is said aloud, once a second at most.
  const spoken = element("span", { class: "i2v i2v-hidden", role: "status" });
  const say = announcer(spoken);
  let panel = null, observer = null, timer = null, closed = false, fading = null, told = "";
  let root = null, held = null; // the panel's model; the click that waits

  function tell(text) {
    toast.textContent = text;
    toast.classList.add("i2v-shown");
    clearTimeout(fading);
    fading = setTimeout(() => toast.classList.remove("i2v-shown"), 2500);
  }

  // Widgets change many nodes at once, and a run changes some all the time: five times a second is enough.
  function soon() {
    timer ??= setTimeout(() => {
      timer = null;
      if (panel) tend();
    }, 200);
  }

  function tend() {
    nameControls(panel);
    const text = panel.querySelector(".i2v-status")?.textContent.trim() ?? "";
    if (text !== told) say((told = text));
  }

  // ipywidgets' text fields keep their keys to themselves, so Escape is heard on the way in. What uses it for itself, such as
  // a pinned choice, prevents it on the way, which is known only afterwards.
  // Generate is switched off by its own click, and the focus falls out of the panel with it: while something runs, Escape is
  // heard from there, too, but not from what somebody is typing into elsewhere.
  function onEscape(event) {
    if (event.key !== "Escape") return;
    const elsewhere = !panel.contains(event.target);
    const typing = event.target.closest?.("input, textarea, select, [contenteditable], .cm-editor, [role=dialog]");
    if (elsewhere && (typing || !buttonOf("Stop"))) return;
    setTimeout(() => event.defaultPrevented || model.send({ key: "Escape" }));
  }

  // The button with this word, if it can be pressed. Stop can be while something runs.
  function buttonOf(word) {
    return [...panel.querySelectorAll("button.jupyter-button:enabled")].find((b) => b.textContent.trim() === word);
  }

  // A click is not held back as changes of widgets are, and would overtake what was typed last: on the filled button it waits
  // until all is settled. Who presses again after having been told of it does not want to wait.
  function onClick(event) {
    const button = event.target.closest("button.mod-primary");
    if (!button || event.i2vSettled || !root || !unsettled(root)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (held?.told) release();
    else held ??= { button, since: performance.now(), timer: setInterval(look, 25) };
  }

  function look() {
    if (!unsettled(root)) return release();
    if (held.told || performance.now() - held.since < 1000) return;
    held.told = true;
    tell(`The kernel is busy; ${held.button.textContent.trim()} follows when it answers`);
  }

  function release() {
    const { button, timer } = held, click = new MouseEvent("click", { bubbles: true, cancelable: true });
    clearInterval(timer);
    held = null;
    if (button.isConnected && !button.disabled) button.dispatchEvent(Object.assign(click, { i2vSettled: true }));
  }

  // Ctrl+Enter in a field does what the filled button does.
  function onEnter(event) {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || !event.target.matches("input, textarea")) return;
    event.preventDefault();
    event.stopPropagation();
    event.target.blur(); // what was typed is sent first
    event.target.focus();
    panel.querySelector("button.mod-primary:enabled")?.click();
  }

  function attach() {
    if (closed || panel) return;
    panel = el.closest(".i2v-panel");
    if (!panel) return void requestAnimationFrame(attach); // a view is made before it is put into its box
    panel.classList.add("i2v");
    document.addEventListener("keydown", onEscape, true);
    model.widget_manager?.get_model(model.get("panel_id")).then((found) => (root = found), () => {});
    panel.addEventListener("click", onClick, true);
    panel.addEventListener("keydown", onEnter, true);
    panel.addEventListener("keydown", keepKeys);
    panel.append(toast, spoken);
    tend();
    observer = new MutationObserver(soon);
    observer.observe(panel, { subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ["class", "style"] });
  }

  async function hear(message, buffers) {
    if (acted.has(message.id)) return;
    acted.add(message.id);
    if (message.do === "copy") {
      const done = await copyText(message.text);
      model.send({ copied: done });
      tell(done ? "Copied" : "This page may not copy; select the text and copy it yourself");
    } else if (message.do === "download") {
      handOver(message.name, buffers[0]);
      tell(`${message.name} is saved to your downloads`);
    }
  }

  el.classList.add("i2v-shell");
  const stop = listen(model, { "msg:custom": hear });
  attach();

  return () => {
    closed = true;
    stop();
    observer?.disconnect();
    clearTimeout(timer);
    document.removeEventListener("keydown", onEscape, true);
    clearInterval(held?.timer);
    panel?.removeEventListener("click", onClick, true);
    panel?.removeEventListener("keydown", onEnter, true);
    panel?.removeEventListener("keydown", keepKeys);
    toast.remove();
    spoken.remove();
  };
}

export default { render };
