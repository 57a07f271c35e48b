"""The lab in a real JupyterLab: what a user sees and does on the first day."""

import re
import sys
import time

import pytest
from labkit import ROOT, Ears, Panel, Served, alive, free_port, isolated, named, overlaps, settled, wait_for
from playwright.sync_api import expect

FEW = {"Steps": 4, "Frames": 8}
LONG = {"Steps": 60, "Frames": 64}
TABS = ["Clip", "Patches", "Attention", "Actions", "Memory", "Motion"]
EXTENSIONS = ["action_prior", "adaptive_patch", "gradient_checkpointing", "kv_cache", "step_cache"]


def test_the_lab_notebook(open_notebook):
    """Run all of lab.ipynb, make a clip, switch two extensions on, make another."""
    notebook = open_notebook("lab", ROOT / "nbs" / "lab.ipynb")
    notebook.run_all(120)
    panel = Panel(notebook)
    expect(panel.status).to_have_text("idle")
    panel.ask_for("the camera slowly zooms in", **FEW)
    panel.make_clip()
    assert panel.said()[0] == "idle"
    first = panel.player_at("End")
    panel.open_extensions()
    for name in ("kv_cache", "action_prior"):
        panel.toggle(name).check()
    panel.ask_for("pan to the left")
    panel.make_clip()
    assert panel.player_at("End") != first, "the player still shows the first clip"
    expect(panel.root.locator(".i2v-needs")).to_contain_text(
        re.compile(r"needs [\d.]+ [MG]iB \(in \w+\); this machine has|your device has"), timeout=60_000
    )
    expect(panel.root.get_by_role("img", name=re.compile("Memory by part: text .* decode"))).to_be_visible()


def test_the_status_says_what_was_agreed(panel):
    """Scripts and screen readers depend on the words; a step that is over at once may go unsaid."""
    panel.ask_for("zoom in", **FEW)
    panel.make_clip()
    first, *steps, last = panel.said()
    assert (first, last) == ("idle", "done")
    assert steps.pop(0) == "waiting", steps
    assert len(steps) > 1 and set(steps) <= {f"running {k}/4" for k in range(5)}, steps
    assert steps == sorted(steps), "a status went back"


def test_every_extension_has_its_switch(panel):
    panel.open_extensions()
    for name in EXTENSIONS:
        expect(panel.toggle(name)).not_to_be_checked()
        panel.toggle(name).check()


def test_every_tab_shows_the_run(panel):
    """Each tab says what to do before a run, and draws something else after it."""
    before = {name: panel.show_tab(name).screenshot() for name in TABS}
    panel.ask_for("the horse walks", **FEW)
    panel.make_clip()
    for name in TABS:
        area = panel.show_tab(name)
        wait_for(lambda area=area: alive(panel.drawings(area)), 5, f"the tab {name} draws nothing")
        assert area.screenshot() != before[name], f"the tab {name} looks as before the run"


def test_stop_a_long_run(panel):
    """Stop answers soon, what was seen stays, and the panel makes another clip."""
    panel.ask_for("the horse walks", **LONG)
    panel.generate.click()
    panel.until(r"running ([3-9]|\d\d)/60")
    expect(panel.generate).to_be_disabled()
    asked = time.perf_counter()
    panel.stop.click()
    panel.until("stopped", 5)
    assert time.perf_counter() - asked < 3, "a step takes a fraction of a second"
    expect(panel.generate).to_be_enabled()
    panel.ask_for("zoom in", **FEW)
    panel.make_clip()
    assert alive(panel.drawings())


def test_the_preview_is_kept_after_stop(panel):
    panel.show_tab("Clip")
    panel.ask_for("the horse walks", **LONG)
    panel.generate.click()
    panel.until(r"running ([5-9]|\d\d)/60")
    panel.stop.click()
    panel.until("stopped", 5)
    wait_for(lambda: alive(panel.drawings(panel.tab_content)), 5, "a preview")


def test_a_path_that_is_no_picture(panel, jupyterlab):
    """The status says what is wrong; the picture from before still works."""
    (jupyterlab.folder / "nbs" / "notes.txt").write_text("not a picture")
    for path, wrong in (("notes.txt", "error: .*not a picture.*"), ("nowhere.jpg", "error: .*nowhere.jpg.*")):
        panel.path.fill(path)
        panel.path.press("Enter")
        panel.until(wrong)
    panel.ask_for("zoom in", **FEW)
    panel.make_clip()


def test_history(panel):
    """Make two clips, take the first one's settings back, and see both beside each other."""
    panel.ask_for("zoom in", Steps=4, Frames=8)
    panel.make_clip()
    panel.ask_for("pan to the left", Steps=5, Frames=6)
    panel.make_clip()
    history = panel.show_tab("History")
    newest, oldest = (history.locator(".i2v-run").nth(k) for k in range(2))
    oldest.get_by_role("button", name=named("restore")).click()
    expect(panel.prompt).to_have_value("zoom in")
    expect(panel.readout("Frames")).to_have_text("8")
    panel.show_tab("History")
    expect(panel.lanes).to_have_count(0)
    oldest.get_by_role("button", name=named("A")).click()
    newest.get_by_role("button", name=named("B")).click()
    expect(panel.lanes).to_have_count(2)
    panel.player_at("End")  # both begin with the picture
    assert len({settled(lane) for lane in panel.lanes.all()}) == 2, "both lanes show the same"


NEWCOMER = """
from pydantic import Field
from i2v_lab.extensions import Extension, ExtensionOptions

class Newcomer(Extension):
    "Made while the panel is open."
    name = "newcomer"
    class Options(ExtensionOptions):
        strength: float = Field(1.0, ge=0, le=4, description="how hard to push")
    def denoise(self, call_next, latents, t, conditioning):
        return call_next(latents, t, conditioning) * self.options.strength

lab.register(Newcomer)
"""


def test_an_extension_from_a_later_cell(panel):
    """It appears in the open panel by itself, and takes part in the next run."""
    panel.open_extensions()
    expect(panel.toggle("newcomer")).to_have_count(0)
    panel.notebook.run(NEWCOMER)
    panel.toggle("newcomer").check()
    panel.ask_for("zoom in", **FEW)
    panel.make_clip()
    panel.notebook.run("print('made with', sorted(panel.clip.settings['mix']))")
    assert panel.notebook.text_of(-1).strip() == "made with ['newcomer']"
    panel.notebook.run("from i2v_lab.pipeline.registry import unregister\nunregister('newcomer')")
    expect(panel.toggle("newcomer")).to_have_count(0)


@pytest.mark.parametrize("theme", ["Light", "Dark"])
@pytest.mark.parametrize("width", [900, 1280])
def test_it_fits(panel, width, theme, request):
    """Nothing must be scrolled sideways, nothing lies upon something else, in a small window and in the dark."""
    panel.look(width, theme, request)
    panel.ask_for("zoom in", **FEW)
    panel.make_clip()
    panel.open_extensions()
    controls = {"Generate": panel.generate, "Stop": panel.stop, "status": panel.status, "Prompt": panel.prompt}
    controls |= {name: panel.toggle(name) for name in EXTENSIONS}
    controls |= {name: panel.tab(name) for name in TABS if panel.tab(name).count()}
    panel.root.scroll_into_view_if_needed()
    assert not overlaps(controls)
    assert not panel.crowded()


def test_the_tab_key_reaches_everything(panel):
    """From the first control on, in the order in which one works; no trap on the way."""
    panel.root.locator("input, select, button, textarea").locator("visible=true").first.focus()
    order = []
    while (name := panel.focused()) is not None and len(order) < 80:
        order.append(name)
        panel.page.keyboard.press("Tab")
    assert len(order) < 80, f"Tab never leaves the panel: {order}"
    assert order.index("Prompt") < order.index("Generate"), order


def test_the_player_by_keyboard(panel):
    panel.ask_for("zoom in", **FEW)
    panel.make_clip()
    panel.show_tab("Clip")
    first = panel.player_at("Home")
    for key, number in (("ArrowRight", "1"), ("ArrowRight", "2"), ("ArrowLeft", "1"), ("End", "7"), ("Home", "0")):
        panel.frame.press(key)
        expect(panel.frame).to_have_value(number)
    assert panel.player_at("End") != first
    panel.frame.press("Space")
    expect(panel.player.get_by_role("button", name="Pause", exact=True)).to_be_visible()
    wait_for(lambda: panel.frame.input_value() in ("3", "4", "5"), 5, "it does not play")
    panel.frame.press("Space")
    expect(panel.player.get_by_role("button", name="Play", exact=True)).to_be_visible()
    stood = panel.frame.input_value()
    panel.page.wait_for_timeout(400)  # three frames' time
    expect(panel.frame).to_have_value(stood)


def test_escape_stops(panel):
    panel.ask_for("the horse walks", **LONG)
    panel.generate.click()
    panel.until(r"running ([3-9]|\d\d)/60")
    panel.prompt.press("Escape")
    panel.until("stopped", 5)


def test_escape_stops_what_a_click_began(panel):
    """Generate is switched off by its own click; the focus falls out of the panel with it."""
    panel.ask_for("the horse walks", **LONG)
    panel.generate.click()
    panel.until(r"running ([3-9]|\d\d)/60")
    panel.page.keyboard.press("Escape")
    panel.until("stopped", 5)


START = {
    "two clicks": lambda panel: panel.generate.dblclick(),
    "Space": lambda panel: panel.generate.press("Space"),
    "Control+Enter": lambda panel: panel.prompt.press("Control+Enter"),
}


SLOW = "import time\npanel.controls.prompt.observe(lambda _: time.sleep({}), 'value')"


@pytest.mark.parametrize("way", START)
def test_what_was_typed_last_is_what_is_asked(panel, way):
    """However slow the kernel is: ipywidgets hold a second change back, and Generate must not overtake it."""
    panel.ask_for("zoom in", **FEW)
    panel.notebook.run(SLOW.format(1.5))
    for words in ("walk", "pan to the left"):
        panel.prompt.fill(words)
    START[way](panel)
    panel.until("done", 45)
    panel.notebook.run("print(panel.clip.settings['prompt'], len(panel.history.records))")
    assert panel.notebook.text_of(-1).strip() == "pan to the left 1"


def test_a_click_that_waits_says_so(panel):
    panel.ask_for("zoom in", **FEW)
    panel.notebook.run(SLOW.format(4))
    panel.prompt.fill("pan to the left")
    panel.generate.click()
    expect(panel.root.locator(".i2v-toast")).to_have_text("The kernel is busy; Generate follows when it answers")
    panel.until("done", 45)


def test_a_press_is_seen_at_once(panel):
    """Before Python has heard of it; a press that changes nothing leaves the status as it was."""
    panel.notebook.run("import time\npanel.generate.on_click(lambda _: time.sleep(2))\npanel.run = lambda: None")
    panel.generate.click()
    expect(panel.status).to_have_text("waiting", timeout=200)
    panel.until("idle")
    assert panel.said() == ["idle", "waiting", "idle"]


def test_a_connection_that_is_lost_is_said(panel):
    """A kernel that is through with a press and has not answered it; a press that is answered takes the words back."""
    panel.notebook.run("panel.run, send, panel.shell.send = lambda: None, panel.shell.send, lambda *_, **__: None")
    panel.generate.click()
    expect(panel.status).to_have_text("the connection to Python was lost: run the cell again", timeout=3000)
    panel.notebook.run("panel.shell.send = send\ndel panel.run")
    panel.ask_for("zoom in", **FEW)
    panel.make_clip()


HURRY = """() => { const patient = AbortSignal.timeout;
    window.calm = () => { AbortSignal.timeout = patient };
    AbortSignal.timeout = (ms) => patient.call(AbortSignal, ms === 2000 ? 0 : ms) }"""


def test_on_a_slow_page(panel):
    """anywidget gives the module of a widget two seconds; here it has none, and still shows what Python says later."""
    notebook = panel.notebook
    notebook.page.evaluate(HURRY)
    notebook.run("panel = lab.Lab(pipe.use())\npanel")
    notebook.page.evaluate("window.calm()")
    given_up = [words for words in notebook.ears.heard if "Failed to initialize model" in words]
    assert given_up
    panel = Panel(notebook)
    panel.ask_for("zoom in", **FEW)
    panel.make_clip()
    assert panel.player_at("Home") != panel.player_at("End")
    notebook.ears.heard[:] = [words for words in notebook.ears.heard if words not in given_up]


def test_copied_code_is_said_on_the_button(panel):
    panel.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    panel.button("Copy code").click()
    expect(panel.button("Copied")).to_be_visible()
    copied = panel.page.evaluate("navigator.clipboard.readText()")
    panel.notebook.run(f"print({copied!r} == panel.python)")
    assert panel.notebook.text_of(-1).strip() == "True"
    expect(panel.button("Copy code")).to_be_visible()


CLASH = dict(arrows=[dict(points=[[0.5, 0.9], [0.6, 0.9]])], still=[dict(box=[0, 0.8, 1, 1])])


def test_a_drawing_moves_nothing(panel):
    """What is said of it has its place: the picture stays beneath the pointer."""
    needs, sheet = panel.root.locator(".i2v-needs"), panel.show_tab("Draw").locator(".i2v-sheet")
    tops = lambda: [part.bounding_box()["y"] for part in (panel.root, panel.generate, sheet)]
    places = lambda: [top - tops()[0] for top in tops()[1:]]  # the page may be scrolled
    expect(needs.get_by_role("img", name="Memory by part")).to_be_visible(timeout=60_000)
    before = places()
    panel.notebook.run(f"panel.guide.drawn = {CLASH!r}")
    expect(needs.locator(".i2v-needs-text")).to_have_text("no forecast: action_guidance cannot be on as it is set")
    expect(panel.root.locator(".i2v-problem").locator("visible=true")).to_have_text(
        "no clip can follow what is drawn: see the tab Draw"
    )
    assert places() == before
    panel.notebook.run(f"panel.guide.drawn = dict(arrows={CLASH['arrows']!r})")
    assert places() == before
    expect(needs.get_by_role("img", name="Memory by part")).to_be_visible(timeout=60_000)
    assert places() == before


def test_a_path_without_enter(panel):
    """Typed and left: it is the picture that is used."""
    panel.path.fill("../data/photos/scikit-image__coffee.jpg")
    panel.ask_for("zoom in", **FEW)
    panel.make_clip()
    panel.notebook.run("print(panel.clip.settings['image']['path'])")
    assert panel.notebook.text_of(-1).strip().endswith("scikit-image__coffee.jpg")


def test_figures_are_seen_in_a_notebook(panel):
    """Without any set-up of matplotlib."""
    panel.ask_for("zoom in", **FEW)
    panel.make_clip()
    panel.notebook.run("panel.trace.action_probs.plot()")
    expect(panel.page.locator(".jp-OutputArea img").last).to_be_visible()


def test_restart_and_run_all(open_notebook, capsys):
    """After the imports the panel is there within 8 seconds."""
    notebook = open_notebook("restart", ["from i2v_lab.views.panel import Lab", "panel = Lab()\npanel"])
    notebook.run_all()
    Panel(notebook)
    notebook.page.evaluate("window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    expect(notebook.page.locator(".i2v-panel")).to_have_count(0)
    begin = time.perf_counter()
    notebook.restart_and_run_all()
    imported = "() => jupyterapp.shell.currentWidget.content.widgets[0].model.executionCount === 1"
    notebook.page.wait_for_function(imported, timeout=60_000, polling=50)
    after_imports = time.perf_counter()
    notebook.page.wait_for_selector(".i2v-panel .i2v-status", timeout=30_000)
    seen = time.perf_counter()
    panel = Panel(notebook)
    with capsys.disabled():
        print(f"\nrestart and imports {after_imports - begin:.1f} s, then the panel {seen - after_imports:.1f} s")
    assert seen - after_imports < 8
    panel.ask_for("zoom in", **FEW)
    panel.make_clip()


AGAIN = """
import gc, weakref
import i2v_lab as lab
pipe = lab.load_pipeline(threads=1)
models = globals().get("models", []) + [weakref.ref(pipe)]
lab.Lab(pipe)
"""


def test_a_cell_that_is_run_again_leaves_no_model_behind(open_notebook):
    """The panel of before is closed with its model; one that another cell shows stays."""
    notebook = open_notebook("again", [AGAIN])
    for _ in range(3):
        notebook.run_all()
    notebook.run("kept = other = lab.Lab(pipe)\nother")
    notebook.run_again("other = lab.Lab(pipe)\nother")  # the one before is kept by a variable
    notebook.run(
        "print(kept.closed, other.closed)\ngc.collect()\nprint([model() is pipe for model in models if model() is not None], len(models))"
    )
    assert notebook.text_of(-1).strip().splitlines() == ["False False", "[True] 3"]
    panel = Panel(notebook)
    panel.ask_for("zoom in", **FEW)
    panel.make_clip()


PANEL = "import i2v_lab as lab\npanel = lab.Lab(lab.load_pipeline(threads=1))\npanel"


def test_after_a_reload_all_is_as_before(open_notebook):
    """Loading the page again gives JupyterLab another connection; the clip is there, and Generate makes the next one."""
    notebook = open_notebook("reload", [PANEL])
    notebook.run_all(120)
    panel = Panel(notebook)
    panel.ask_for("zoom in", **FEW)
    panel.make_clip()
    for prompt in ("pan to the left", "the horse walks"):  # the second time after something was done in the loaded page
        notebook.reload()
        panel = Panel(notebook)
        expect(panel.status).to_have_text("done")
        panel.ask_for(prompt)
        panel.make_clip()
    notebook.run("print([r.asked['prompt'] for r in panel.history.records])")
    assert notebook.text_of(-1).strip() == "['zoom in', 'pan to the left', 'the horse walks']"


def test_the_page_without_code(context, tmp_path, jupyterlab):
    """`i2v-lab lab --app` shows the panel and nothing else."""
    port = free_port()
    command = [sys.executable, "-m", "i2v_lab.cli", "lab", "--app", "--", f"--port={port}", "--no-browser"]
    served = Served(command, port=port, env=isolated(tmp_path), cwd=jupyterlab.folder, log=tmp_path / "app.log")
    page = context.new_page()
    ears = Ears(page)
    try:
        page.goto(served.url, timeout=60_000)  # Voila answers when the cell has run
        root = page.locator(".i2v-panel")
        expect(root).to_be_visible(timeout=60_000)
        root.get_by_role("button", name=named("Generate")).click()
        expect(root.locator(".i2v-status")).to_have_text("done", timeout=60_000)
        assert page.locator(".jp-CodeCell .cm-editor:visible").count() == 0
        complaints = [c for c in ears.heard if "fontawesome" not in c]  # Voila asks for icons, and does without them
        assert not complaints
    finally:
        page.close()
        served.stop()
