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
  let root = null, press = null; // the panel's model; the press of the filled button that Python has not answered yet
  let signed = null; // the button that says for a moment what it has done

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

  // A press of the filled button is seen at once, and is a message of the panel's own model: the kernel says when it is through
  // with one, and Python answers each. A change of a widget may be held back, so a press waits until all is settled; who presses
  // again after having been told of it does not want to wait.
  function onClick(event) {
    const button = event.target.closest("button.i2v-guarded");
    if (!button || !root) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (press?.lost) endPress();
    press ??= { button, ...instead("waiting"), since: performance.now(), timer: setInterval(look, 25) };
    if (press.told || !unsettled(root)) send();
  }

  // Puts words of ours in place of Python's status; they are gone as soon as Python says something there.
  function instead(words) {
    const line = panel.querySelector(".i2v-status .widget-html-content"), ours = element("span", {}, words);
    const before = line ? [...line.childNodes] : [];
    line?.replaceChildren(ours);
    return { line, ours, before };
  }

  function send() {
    if (press.sent) return;
    const mine = press;
    mine.sent = true;
    const over = () => setTimeout(() => press === mine && lose(), 500); // an answer that is on its way may be read after this
    root.send({ press: true }, { iopub: { status: (message) => message.content.execution_state === "idle" && over() } });
  }

  function look() {
    const waited = performance.now() - press.since, connection = root.widget_manager?.kernel?.connectionStatus;
    if (!unsettled(root)) send();
    if (waited > 1000 && !press.told) {
      press.told = true;
      tell(`The kernel is busy; ${press.button.textContent.trim()} follows when it answers`);
    }
    if (root.comm_live === false || (waited > 2500 && connection && connection !== "connected")) lose();
  }

  function lose() {
    clearInterval(press.timer);
    press.lost = true;
    press.ours.textContent = "the connection to Python was lost: run the cell again";
    press.ours.className = "i2v-bad";
  }

  function endPress() {
    if (!press) return;
    clearInterval(press.timer);
    if (press.ours.isConnected) press.line.replaceChildren(...press.before); // Python had nothing to say
    press = null;
  }

  // What is copied is here already, unless Python still has to hear of something, or has to write a file first.
  function onCopy(event) {
    const text = model.get("text");
    if (!event.target.closest("button.i2v-copy") || !text || (root && unsettled(root))) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    copy(text);
  }

  async function copy(text) {
    const done = await copyText(text), button = panel?.querySelector("button.i2v-copy");
    if (done && button) sign(button, "Copied");
    else tell(done ? "Copied" : "This page may not copy; select the text and copy it yourself");
  }

  // Says for two seconds on a button what it has done.
  function sign(button, word) {
    const text = [...button.childNodes].findLast((node) => node.nodeType === Node.TEXT_NODE);
    signed?.undo();
    const [before, width] = [text.data, button.style.width];
    const undo = () => {
      clearTimeout(signed.timer);
      text.data = before;
      button.style.width = width;
      signed = null;
    };
    button.style.width = `${button.offsetWidth}px`;
    text.data = before.replace(before.trim(), word);
    signed = { undo, timer: setTimeout(undo, 2000) };
    say(word);
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
    panel.addEventListener("click", onCopy, true);
    panel.addEventListener("keydown", onEnter, true);
    panel.addEventListener("keydown", keepKeys);
    panel.append(toast, spoken);
    tend();
    observer = new MutationObserver(soon);
    observer.observe(panel, { subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ["class", "style"] });
  }

  function hear(message, buffers) {
    if (message.do === "heard") return endPress(); // by the panel, wherever it is on the page
    if (acted.has(message.id)) return;
    acted.add(message.id);
    if (message.do === "copy") {
      copy(message.text);
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
    clearInterval(press?.timer);
    clearTimeout(signed?.timer);
    panel?.removeEventListener("click", onClick, true);
    panel?.removeEventListener("click", onCopy, true);
    panel?.removeEventListener("keydown", onEnter, true);
    panel?.removeEventListener("keydown", keepKeys);
    toast.remove();
    spoken.remove();
  };
}

export default { initialize, render };
