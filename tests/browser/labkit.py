"""A JupyterLab of its own, a browser, and the hands of a user on a notebook and on the lab's panel."""

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import nbformat
from playwright.sync_api import BrowserContext, Locator, Page, expect
from playwright.sync_api import TimeoutError as Late

ROOT = Path(__file__).resolve().parents[2]
FLAGS = (
    "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --force-color-profile=srgb"
).split()
NEWS = "@jupyterlab/apputils-extension/notification.jupyterlab-settings"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def isolated(home: Path) -> dict[str, str]:
    """The environment of a user who has never opened Jupyter here."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "IPYTHON", "I2V_LAB", "MPL", "PYTEST"))}
    names = "CONFIG_DIR DATA_DIR RUNTIME_DIR".split() + ["LAB_SETTINGS_DIR", "LAB_WORKSPACES_DIR"]
    made = {f"JUPYTER{'' if n.startswith('LAB') else '_'}{n}": home / n.lower() for n in names}
    made |= {"IPYTHONDIR": home / "ipython", "HOME": home, "XDG_CACHE_HOME": home / "cache"}
    for folder in made.values():
        folder.mkdir(parents=True, exist_ok=True)
    return (
        kept
        | {k: str(v) for k, v in made.items()}
        | {
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONFAULTHANDLER": "1",  # a kernel that crashes says where, in JupyterLab's log
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # else a restarted kernel warns of its debugger
        }
    )


class Served:
    """A process that answers on a port of its own; stopped with all that it started."""

    def __init__(self, command: list[str], *, port: int, probe: str = "", env: dict[str, str], cwd: Path, log: Path):
        self.port, self.log = port, log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command, env=env, cwd=cwd, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.url = f"http://127.0.0.1:{port}"
        end = time.monotonic() + 60
        while not self.answers(probe):
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise RuntimeError(f"{' '.join(command[:4])} does not answer:\n{self.tail(4000)}")
            time.sleep(0.1)

    def answers(self, probe: str) -> bool:  # no probe: only whether somebody listens
        try:
            if not probe:
                return not socket.create_connection(("127.0.0.1", self.port), 5).close()
            return urllib.request.urlopen(self.url + probe, timeout=5).status == 200
        except (urllib.error.URLError, OSError):
            return False

    def tail(self, size: int = 3000) -> str:
        return self.log.read_text(errors="replace")[-size:]

    def stop(self) -> None:
        for sign, patience in ((signal.SIGINT, 1), (signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            if self.process.poll() is None:
                self.process.send_signal(sign)
                try:
                    self.process.wait(patience)
                except subprocess.TimeoutExpired:
                    continue


class JupyterLab(Served):
    """JupyterLab in a folder like the repository: settings.ini, data/photos, nbs."""

    def __init__(self, home: Path):
        self.folder, self.token = home / "house", secrets.token_hex(16)
        furnish(self.folder)
        env, port = isolated(home), free_port()
        quiet = Path(env["JUPYTERLAB_SETTINGS_DIR"]) / NEWS
        quiet.parent.mkdir(parents=True)
        quiet.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
        options = {
            "ServerApp.ip": "127.0.0.1",
            "ServerApp.port": port,
            "ServerApp.port_retries": 0,
            "ServerApp.root_dir": self.folder,
            "ServerApp.open_browser": False,
            "IdentityProvider.token": self.token,
            "LabApp.expose_app_in_browser": True,
            "LabApp.news_url": None,
            "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        }
        command = [sys.executable, "-m", "jupyterlab", "--allow-root", *(f"--{k}={v}" for k, v in options.items())]
        super().__init__(
            command, port=port, probe=f"/api?token={self.token}", env=env, cwd=self.folder, log=home / "jupyter.log"
        )


def furnish(folder: Path) -> None:
    """Make a folder that looks like the repository to a notebook in its `nbs`; what is written there stays there."""
    (folder / "nbs").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "settings.ini").write_text((ROOT / "settings.ini").read_text())
    for name in ("photos", "subjects"):
        (folder / "data" / name).symlink_to(ROOT / "data" / name)


class Ears:
    """Everything that a page says when something is wrong with it, and everything that it asks of other machines."""

    def __init__(self, page: Page):
        self.heard: list[str] = []
        page.on("console", self.hear)
        page.on("pageerror", lambda e: self.heard.append(f"uncaught in the page: {e.message}\n{e.stack or ''}"))
        page.on("request", lambda r: self.request(r.url))

    def hear(self, message) -> None:
        """Keep all errors, and the warnings of what we and our widgets wrote."""
        place = message.location.get("url", "")
        ours = place.startswith("blob:") or re.search(r"i2v|anywidget", message.text + place)
        ours = ours and "ms to activate" not in message.text  # says how busy the machine is
        if message.type == "error" or (message.type == "warning" and ours):
            self.heard.append(f"console {message.type}: {message.text} ({place})")

    def request(self, url: str) -> None:
        if re.match(r"(https?|wss?)://(?!127\.0\.0\.1|localhost)", url):
            self.heard.append(f"asked another machine: {url}")


CURRENT = "const nb = window.jupyterapp.shell.currentWidget;"

CELLS = f"""() => {{ {CURRENT} return nb.content.widgets.map((cell, i) => ({{
    source: cell.model.sharedModel.source.slice(0, 80), count: cell.model.executionCount,
    shown: !cell.outputArea ? '' : cell.node.querySelector('.i2v-panel') ? '(the panel)'
        : cell.outputArea.node.innerText.slice(0, 1500)}})) }}"""

LISTEN = f"""() => {{ {CURRENT} window.lost = [];
    nb.sessionContext.iopubMessage.connect((_, m) => {{
      const type = m.header.msg_type, text = m.content.traceback ? m.content.traceback.join('\\n') : m.content.text;
      if (type === 'error' || (type === 'stream' && m.content.name === 'stderr')) window.lost.push(text) }}) }}"""

RUN_ALL = """() => { window.ran = null;
    window.jupyterapp.commands.execute('notebook:run-all-cells').then(ok => { window.ran = ok !== false }) }"""

APPEND_AND_RUN = f"""source => {{ {CURRENT} window.ran = null;
    const cells = nb.content.model.sharedModel, n = cells.cells.length;
    cells.insertCell(n, {{cell_type: 'code', source, metadata: {{}}}});
    nb.content.activeCellIndex = n; nb.content.deselectAll();
    window.jupyterapp.commands.execute('notebook:run-cell').then(ok => {{ window.ran = ok !== false }}) }}"""


CHANGE_AND_RUN = f"""source => {{ {CURRENT} window.ran = null;
    const n = nb.content.model.sharedModel.cells.length - 1;
    nb.content.model.sharedModel.getCell(n).setSource(source);
    nb.content.activeCellIndex = n; nb.content.deselectAll();
    window.jupyterapp.commands.execute('notebook:run-cell').then(ok => {{ window.ran = ok !== false }}) }}"""


class Notebook:
    """A notebook that is open in JupyterLab, with a kernel that waits for work."""

    def __init__(self, server: JupyterLab, context: BrowserContext, name: str, cells: list[str] | Path):
        self.server, self.page = server, context.new_page()
        self.ears = Ears(self.page)
        path = server.folder / "nbs" / f"{name}.ipynb"
        if isinstance(cells, Path):
            path.write_bytes(cells.read_bytes())
        else:
            kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
            made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells], metadata=kernel)
            nbformat.write(made, path)
        self.page.goto(f"{server.url}/lab/tree/nbs/{path.name}?token={server.token}&reset")
        self.until_open()

    def until_open(self) -> None:
        self.page.wait_for_selector("#jupyterlab-splash", state="detached", timeout=60_000)
        self.page.wait_for_selector(".jp-NotebookPanel .jp-Notebook", timeout=30_000)
        self.until_idle()
        self.page.evaluate(LISTEN)

    def until_idle(self) -> None:
        status = "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
        self.page.wait_for_function(status, timeout=60_000, polling=50)

    def until_ran(self, seconds: float) -> None:
        self.page.wait_for_function("window.ran !== null", timeout=seconds * 1000, polling=30)
        assert self.page.evaluate("window.ran"), f"a cell failed\n{self.story()}"

    def run_all(self, seconds: float = 60) -> None:
        """Run > Run All Cells."""
        self.page.evaluate(RUN_ALL)
        self.until_ran(seconds)

    def run(self, source: str, seconds: float = 60) -> None:
        """Type a new cell at the end, and run it."""
        self.page.evaluate(APPEND_AND_RUN, source)
        self.until_ran(seconds)

    def run_again(self, source: str, seconds: float = 60) -> None:
        """Change the last cell, and run it."""
        self.page.evaluate(CHANGE_AND_RUN, source)
        self.until_ran(seconds)

    def reload(self) -> None:
        """Save, and load the page again."""
        self.page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
        self.page.reload()
        self.until_open()

    def restart_and_run_all(self) -> None:
        """Kernel > Restart Kernel and Run All Cells, and yes. Does not wait for the cells."""
        self.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:restart-run-all') }")
        self.page.locator(".jp-Dialog").get_by_role("button", name="Confirm Kernel Restart").click()
        self.page.wait_for_selector(".jp-Dialog", state="detached")

    def text_of(self, index: int) -> str:
        """What stands beneath a cell."""
        return self.page.evaluate(CELLS)[index]["shown"]

    def theme(self, name: str) -> None:
        """Settings > Theme."""
        change = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})"
        self.page.evaluate(change, f"JupyterLab {name}")
        wanted = "true" if name == "Light" else "false"
        self.page.wait_for_selector(f"body[data-jp-theme-light='{wanted}']", state="attached")

    def complaints(self) -> list[str]:
        """What went wrong without anybody asking: in the page, in a callback, or in a cell."""
        # JupyterLab asks a new kernel for widgets that it cannot have yet, and a restarted one for those it had.
        lost = [text for text in self.page.evaluate("window.lost") if not text.startswith("No such comm")]
        return list(dict.fromkeys(self.ears.heard + [f"the kernel said: {text}" for text in lost]))

    def story(self) -> str:
        """All that helps to see why a test failed."""
        try:
            cells = [f"[{c['count']}] {c['source']!r}\n{c['shown']}" for c in self.page.evaluate(CELLS) if c["shown"]]
            said = self.complaints()
        except Exception as e:  # the page is gone: the log may say why
            cells, said = [f"the page does not answer: {e}"], self.ears.heard
        parts = {"cells": cells, "complaints": said, "JupyterLab's log": [self.server.tail()]}
        return "\n".join(f"--- {name} ---\n" + "\n".join(lines) for name, lines in parts.items())

    def close(self) -> None:
        """Shut the kernel down and close the tab."""
        try:
            self.page.evaluate(f"async () => {{ {CURRENT} await nb.sessionContext.shutdown() }}")
        finally:
            self.page.close()


WATCH = """panel => { const line = panel.querySelector('.i2v-status'); window.said = [];
    const note = () => { const text = line.textContent.trim(), said = window.said;
                         if (text && said[said.length - 1] !== text) said.push(text) };
    note(); new MutationObserver(note).observe(line, {childList: true, subtree: true, characterData: true}) }"""

# Shapes and colours, and not text: "press Generate" is no drawing.
DRAWINGS = """area => { const seen = e => e.checkVisibility({visibilityProperty: true}) && e.clientWidth * e.clientHeight;
    const colours = c => { const small = new OffscreenCanvas(48, 48), pen = small.getContext('2d');
        pen.drawImage(c, 0, 0, 48, 48); const d = new Uint32Array(pen.getImageData(0, 0, 48, 48).data.buffer);
        return new Set(d).size };
    const filled = e => { const look = getComputedStyle(e);
        return !e.children.length && !e.textContent && e.clientWidth * e.clientHeight > 3
               && (look.backgroundImage !== 'none' || !/^rgba\\(.*, 0\\)$/.test(look.backgroundColor)) };
    const all = q => [...area.querySelectorAll(q)].filter(seen);
    const shapes = s => s.querySelectorAll('path, rect, line, circle, polygon, polyline, image').length;
    return {canvas: all('canvas').filter(c => c.width && c.height).map(colours), svg: all('svg').map(shapes),
            bars: [all('b, i, div, span').filter(filled).length], img: all('img').map(i => i.naturalWidth)} }"""

CROWDED = """panel => [panel.closest('.jp-OutputArea-output'), panel, ...panel.querySelectorAll('*')].filter(e =>
    e && e.checkVisibility() && e.scrollWidth > e.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(e).overflowX)
  ).map(e => `<${e.localName} class="${e.className}">: ${e.scrollWidth} in ${e.clientWidth} px`)"""

FOCUSED = """panel => { const e = document.activeElement;
    if (!panel.contains(e)) return null;
    return (e.getAttribute('aria-label') || (e.labels && e.labels[0] && e.labels[0].innerText) || e.innerText
            || e.getAttribute('placeholder') || e.localName).trim() }"""


class Panel:
    """The lab's panel, as a user finds it: by what it says, not by how it is built."""

    def __init__(self, notebook: Notebook):
        self.notebook, self.page = notebook, notebook.page
        self.root = self.page.locator(".i2v-panel:visible").last
        expect(self.root).to_be_visible(timeout=30_000)
        self.root.scroll_into_view_if_needed()
        self.status = self.root.locator(".i2v-status")
        self.root.evaluate(WATCH)

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=named(name))

    def toggle(self, extension: str) -> Locator:
        return self.root.get_by_role("checkbox", name=extension, exact=True)

    def tab(self, name: str) -> Locator:
        return self.root.get_by_role("tab", name=name, exact=True)

    @property
    def generate(self) -> Locator:
        return self.button("Generate")

    @property
    def stop(self) -> Locator:
        return self.button("Stop")

    @property
    def prompt(self) -> Locator:
        return self.root.get_by_role("textbox", name="Prompt", exact=True)

    @property
    def path(self) -> Locator:
        return self.root.get_by_role("textbox", name="Path", exact=True)

    @property
    def tab_content(self) -> Locator:
        """What the chosen tab shows."""
        return self.root.locator(".widget-tab-contents > *").locator("visible=true").first

    def open_extensions(self) -> None:
        """The list of extensions may be folded."""
        if not self.toggle("kv_cache").is_visible():
            self.root.get_by_text("Extensions", exact=True).first.click()
        expect(self.toggle("kv_cache")).to_be_visible()

    @property
    def player(self) -> Locator:
        """The player that is in sight."""
        return self.root.get_by_role("group", name="Player", exact=True).locator("visible=true")

    @property
    def frame(self) -> Locator:
        """Its scrubber: the number of the frame, from 0."""
        return self.player.get_by_label("Frame", exact=True)

    @property
    def lanes(self) -> Locator:
        """Its clips."""
        return self.player.get_by_role("img")

    def look(self, width: int, theme: str, request) -> None:
        """A window of this width, in a theme that ends with the test."""
        self.page.set_viewport_size({"width": width, "height": 1600})
        self.notebook.theme(theme)
        request.addfinalizer(lambda: self.notebook.theme("Light"))

    def show_tab(self, name: str) -> Locator:
        """Click a tab; gives what it shows."""
        self.tab(name).click()
        expect(self.tab(name)).to_have_attribute("aria-selected", "true")
        return self.tab_content

    def readout(self, name: str) -> Locator:
        """The number beside a slider."""
        row = self.root.locator(".widget-slider, .widget-hslider").filter(has_text=re.compile(rf"^{name}"))
        return row.locator(".widget-readout").first

    def set_number(self, name: str, value: int) -> None:
        """Type a number into the field beside a slider."""
        field = self.readout(name)
        field.click()
        field.press("Control+a")
        field.type(str(value))
        field.press("Enter")
        expect(field).to_have_text(str(value))

    def ask_for(self, prompt: str, **numbers: int) -> None:
        """Write the prompt, and set sliders by their names."""
        self.prompt.fill(prompt)
        self.prompt.blur()
        for name, value in numbers.items():
            self.set_number(name, value)

    def until(self, pattern: str, seconds: float = 30) -> str:
        """Wait for a status; gives its text."""
        check = "([line, pattern]) => new RegExp(`^(${pattern})$`).test(line.textContent.trim())"
        try:
            handle = self.status.element_handle()
            self.page.wait_for_function(check, arg=[handle, pattern], timeout=seconds * 1000, polling=30)
        except Late:
            raise AssertionError(
                f"no status {pattern!r} within {seconds:g} s; it said {self.said()}\n{self.notebook.story()}"
            ) from None
        return self.status.text_content().strip()

    def said(self) -> list[str]:
        """Every status since the panel was found, in order."""
        return self.page.evaluate("window.said")

    def make_clip(self, seconds: float = 45) -> None:
        """Press Generate and wait for the clip."""
        before = len(self.said())
        self.generate.click()
        self.page.wait_for_function("n => window.said.length > n", arg=before, polling=30)
        self.until("done", seconds)
        assert any(s.startswith("running") for s in self.said()[before:]), self.said()

    def player_at(self, key: str) -> str:
        """Pause, go to the first (Home) or the last frame (End); gives a mark of the picture that is shown then."""
        pause = self.player.get_by_role("button", name="Pause", exact=True)
        if pause.count():
            pause.click()
        self.frame.focus()
        self.frame.press(key)
        return settled(self.lanes.first)

    def drawings(self, area: Locator | None = None) -> dict[str, list[int]]:
        """What is drawn: colours of each canvas, shapes of each svg, coloured bars, width of each picture."""
        return (area or self.root).evaluate(DRAWINGS)

    def crowded(self) -> list[str]:
        """What must be scrolled sideways."""
        return self.root.evaluate(CROWDED)

    def focused(self) -> str | None:
        """The name of what has the focus; None: not in the panel."""
        return self.root.evaluate(FOCUSED)


def named(name: str) -> re.Pattern:
    """An accessible name; the glyph of an icon counts as a part of it."""
    return re.compile(rf"^\W*{re.escape(name)}$")


def alive(drawings: dict[str, list[int]]) -> bool:
    """Whether something is drawn: a canvas of many colours, an svg of several shapes, bars, or a picture."""
    least = {"canvas": 8, "svg": 5, "bars": 5, "img": 2}
    return any(count >= least[kind] for kind, counts in drawings.items() for count in counts)


def settled(canvas: Locator, seconds: float = 5) -> str:
    """What a canvas shows, once it stands still."""
    look = lambda: canvas.evaluate("async c => { await new Promise(requestAnimationFrame); return c.toDataURL() }")
    return wait_for(lambda: (a := look()) == look() and a, seconds, "a picture that stands still")


def wait_for(question: Callable, seconds: float, what: str):
    """Ask until the answer is yes; gives the answer."""
    end = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        time.sleep(0.05)
    return answer


def overlaps(places: dict[str, Locator]) -> list[str]:
    """Pairs of controls that lie upon each other, and controls that have no size."""
    boxes = {name: place.bounding_box() for name, place in places.items()}
    flat = [f"{n} has no size" for n, b in boxes.items() if not b or b["width"] < 8 or b["height"] < 8]
    found, names = [], [n for n in boxes if boxes[n]]
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            p, q = boxes[a], boxes[b]
            wide = min(p["x"] + p["width"], q["x"] + q["width"]) - max(p["x"], q["x"])
            high = min(p["y"] + p["height"], q["y"] + q["height"]) - max(p["y"], q["y"])
            if wide > 1 and high > 1:
                found.append(f"{a} and {b} overlap by {wide:.0f} x {high:.0f} px")
    return flat + found
