"""A study in a real JupyterLab, and its report: a file that a browser opens from a disk, with the network off."""

import json
import re
import time

import pytest
from labkit import named, settled, wait_for
from playwright.sync_api import expect

from i2v_lab.extensions.reference import reference_pipeline, sample_picture
from i2v_lab.views.study_panel import Study

NASTY = "</script><img src=x onerror=alert(1)> it walks"
SMALL = """
from i2v_lab.extensions.reference import reference_pipeline, sample_picture
from i2v_lab.views.study_panel import Study, StudyPanel
study = Study({"red box": sample_picture(96, 64), "tall": sample_picture(48, 80, 1)}, {"it walks": "walk", "zoom in": None},
    [[], "kv_cache", {"step_cache": {"interval": 2}}, ["kv_cache", "step_cache"]], out="small",
    options=dict(steps=4, frames=6), pipe=reference_pipeline()).run(progress=False)
view = study.view()
view
"""


class Seen:
    """A wall and its charts, in a notebook or in a report."""

    def __init__(self, page):
        self.page = page
        self.wall = page.get_by_role("group", name="Wall", exact=True)
        self.effects = page.get_by_role("group", name="Effects", exact=True)
        expect(self.wall.locator(".i2v-wall-cell").first).to_be_visible(timeout=20_000)
        self.wall.locator(".i2v-wall-cell").first.scroll_into_view_if_needed()  # clips off the screen are not fetched
        expect(self.wall.get_by_label("Frame of all clips", exact=True)).to_be_enabled(timeout=20_000)

    def cell(self, row: int, column: int):
        return self.wall.locator("tbody tr").nth(row).locator("td").nth(column).locator("button")

    def picture(self, row: int, column: int) -> str:
        """A mark of what a cell shows."""
        canvas = self.cell(row, column).locator("canvas")
        self.cell(row, column).scroll_into_view_if_needed()
        expect(canvas).to_have_attribute("data-ready", "true")
        return settled(canvas)

    def columns(self) -> list[str]:
        return self.wall.locator("thead th .i2v-wall-name").all_inner_texts()

    def pause(self) -> None:
        pause = self.wall.get_by_role("button", name="Pause", exact=True)
        if pause.count():
            pause.click()

    def press(self, key: str) -> None:
        self.wall.locator(".i2v-wall-box").press(key)

    def switch(self, name: str) -> None:
        self.wall.get_by_role("button", name=name, exact=True).click()

    def choose(self, label: str, value: str) -> None:
        self.wall.get_by_label(label, exact=True).select_option(value)


# ---- in a notebook


@pytest.fixture
def seen(request, workbench):
    """A small study in a notebook."""
    get, discard = workbench
    notebook = request.node.notebook = get()
    notebook.ears.heard.clear()
    notebook.page.evaluate("window.lost = []")
    notebook.page.set_viewport_size({"width": 1400, "height": 1000})
    notebook.page.evaluate("window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    notebook.run(SMALL)
    yield Seen(notebook.page)
    complaints = notebook.complaints()
    if getattr(request.node, "failed", False):
        discard()
    assert not complaints, "\n".join(complaints)


def test_all_clips_play_in_step(seen):
    """One clock; and a mix that changes no frame shows what nothing shows, at every frame."""
    wait_for(lambda: seen.wall.get_by_role("button", name="Pause", exact=True).count(), 15, "the wall does not play")
    seen.pause()
    seen.press("Home")
    expect(seen.wall.locator(".i2v-wall-count")).to_have_text("frame 1 / 6")
    first = [seen.picture(0, column) for column in range(4)]
    seen.press("End")
    last = [seen.picture(0, column) for column in range(4)]
    names = seen.columns()
    exact, other = names.index("kv_cache"), names.index("step_cache")
    assert names[0] == "nothing" and all(a != b for a, b in zip(first, last))
    assert first[0] == first[exact] and last[0] == last[exact] != last[other]
    seen.press("ArrowLeft")
    expect(seen.wall.locator(".i2v-wall-count")).to_have_text("frame 5 / 6")


def test_space_plays_on_a_clip_and_enter_opens_it(seen):
    seen.pause()
    seen.cell(0, 1).focus()
    seen.page.keyboard.press("Space")
    expect(seen.wall.get_by_role("button", name="Pause", exact=True)).to_be_visible()
    expect(seen.wall.get_by_role("region", name="The chosen clip")).to_be_hidden()
    seen.page.keyboard.press("Enter")
    expect(seen.wall.get_by_role("region", name="The chosen clip")).to_be_visible()


def test_the_difference_says_identical(seen):
    seen.pause()
    names = seen.columns()
    seen.switch("Difference to nothing on")
    seen.press("End")
    expect(seen.cell(0, names.index("kv_cache")).locator(".i2v-wall-over")).to_have_text("identical")
    expect(seen.cell(0, names.index("step_cache")).locator(".i2v-wall-over")).to_have_text("")
    expect(seen.cell(0, names.index("step_cache"))).to_contain_text(re.compile(r"max \d+"))
    expect(seen.wall.locator(".i2v-wall-scale")).to_contain_text("of 255")
    expect(seen.cell(0, 0).locator(".i2v-wall-over")).to_have_text("")


def test_filters_and_order(seen):
    assert seen.wall.locator("tbody tr").count() == 4
    seen.choose("Picture", "tall")
    assert seen.wall.locator("tbody tr").count() == 2
    seen.wall.get_by_label("Find a picture, a prompt or an action").fill("zoom")
    assert seen.wall.locator("tbody tr").count() == 1
    seen.switch("Baselines")
    names = seen.columns()
    assert names[0] == "nothing" and names[4:] == ["still", "Ken Burns", "exact", "steps=2", "steps=1"]
    seen.choose("Metric", "flops")
    seen.choose("Columns", "metric")
    told = seen.wall.locator("tbody tr").first.locator("td .i2v-wall-facts").all_inner_texts()[1:4]
    flops = [float(re.search(r"([\d.]+)\s[MGk]$", text)[1]) for text in told]
    assert flops == sorted(flops), "the cheapest first, after nothing"
    assert seen.columns()[0] == "nothing" and seen.columns()[4:] == names[4:]


def test_look_inside(seen):
    """A clip is made again with probes, and what they saw is drawn."""
    seen.cell(0, 1).click()
    page = seen.page
    expect(seen.wall.get_by_role("region", name="The chosen clip")).to_contain_text("kv_cache")
    page.get_by_role("button", name=named("Look inside")).click()
    expect(page.get_by_text(re.compile("made again in")).last).to_be_visible(timeout=30_000)
    page.get_by_role("tab", name="Memory", exact=True).last.click()
    expect(page.get_by_role("group", name="Memory", exact=True).last).to_be_visible()


def test_effects_are_drawn_and_said(seen):
    seen.effects.scroll_into_view_if_needed()
    seen.effects.get_by_label("Effects on", exact=True).select_option("flops")
    expect(seen.effects.locator("[data-effect='step_cache'] .i2v-interval")).to_have_count(1)
    expect(seen.effects.locator("[data-effect='step_cache']")).to_contain_text("better")
    expect(seen.effects.locator(".i2v-effects-sentences li")).to_have_count(2)
    seen.effects.get_by_label("Cost", exact=True).select_option("flops")
    seen.effects.get_by_label("Quality", exact=True).select_option("ssim")
    expect(seen.effects.locator("[data-mix='kv_cache'] .i2v-on")).to_have_count(1)
    expect(seen.effects.locator("[data-mix='nothing'] .i2v-off")).to_have_count(1)  # the same frames for more


def test_the_page_does_not_grow_sideways(seen):
    """The wall scrolls within its own box, in a narrow window and in the dark."""
    seen.switch("Baselines")
    seen.page.set_viewport_size({"width": 900, "height": 1000})
    wide = "e => [e.scrollWidth - e.clientWidth, e.querySelector('.i2v-wall-box').scrollWidth - e.querySelector('.i2v-wall-box').clientWidth]"
    outside, inside = seen.wall.evaluate(wide)
    assert outside <= 1 and inside > 50
    head = seen.wall.locator("tbody th").first
    before = head.bounding_box()["x"]
    seen.wall.locator(".i2v-wall-box").evaluate("e => e.scrollLeft = 200")
    assert abs(head.bounding_box()["x"] - before) < 2, "the heads of the rows went away"


# ---- the panel


@pytest.fixture
def pressed(request, workbench):
    """The study panel with the tiny model."""
    get, discard = workbench
    notebook = request.node.notebook = get()
    notebook.ears.heard.clear()
    notebook.page.evaluate("window.lost = []")
    notebook.page.set_viewport_size({"width": 1400, "height": 1000})
    notebook.page.evaluate("window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    notebook.run(
        "from i2v_lab.extensions.reference import reference_pipeline\nfrom i2v_lab.views.study_panel import StudyPanel"
    )
    notebook.run(f"panel = StudyPanel(reference_pipeline(), out='pressed-{request.node.name}')\npanel")
    root = notebook.page.locator(".i2v-panel:visible").first
    expect(root).to_be_visible()
    yield notebook, root
    complaints = notebook.complaints()
    if getattr(request.node, "failed", False):
        discard()
    assert not complaints, "\n".join(complaints)


def test_run_stop_and_run_again(pressed):
    """Stop keeps what was made; Run goes on; the wall fills."""
    notebook, root = pressed
    status = root.locator(".i2v-status").first
    expect(status).to_have_text("idle")
    tiles = root.get_by_role("checkbox").and_(root.locator(".i2v-gallery-tile"))
    assert tiles.count() > 10
    chosen = root.locator(".i2v-gallery-tile[aria-checked='true']")
    expect(chosen).to_have_count(2)
    expect(root).to_contain_text(re.compile(r"2 pictures x 2 prompts x 1 seed x 4 mixes and baselines: \d+ clips"))
    root.locator(".i2v-gallery-tile").nth(3).click()
    expect(chosen).to_have_count(3)
    expect(root).to_contain_text("3 pictures x")
    root.get_by_role("button", name=named("Run")).click()
    expect(status).to_have_text(re.compile(r"running \d+/\d+"), timeout=20_000)
    root.get_by_role("button", name=named("Stop")).click()
    expect(status).to_have_text(re.compile("stopped, .* clips left|done"), timeout=20_000)
    root.get_by_role("button", name=named("Run")).click()
    expect(status).to_have_text("done", timeout=120_000)
    seen = Seen(notebook.page)
    expect(seen.wall.locator(".i2v-wall-note")).to_contain_text(re.compile(r"(\d+) of \1 clips made"))
    assert seen.picture(0, 0)


def test_a_wrong_line_is_said(pressed):
    _, root = pressed
    prompts = root.locator("textarea")
    prompts.fill("it flies => fly")
    prompts.blur()
    expect(root).to_contain_text("unknown action")
    expect(root.get_by_role("button", name=named("Run"))).to_be_disabled()


# ---- the report


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The report of a study with a prompt that tries to break out."""
    folder = tmp_path_factory.mktemp("study")
    study = Study(
        {"red box": sample_picture(96, 64)},
        {NASTY: "walk", "zoom in": None},
        [[], "kv_cache", {"step_cache": {"interval": 2}}, ["kv_cache", "step_cache"]],
        out=folder / "out",
        options=dict(steps=4, frames=6),
        pipe=reference_pipeline(),
    ).run(progress=False)
    return study.report(folder / "report.html")


@pytest.fixture
def page(context):
    """A page without a network, and what it complains of."""
    page = context.new_page()
    page.context.set_offline(True)
    heard = []
    page.on("console", lambda m: heard.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: heard.append(e.message))
    page.on("dialog", lambda d: (heard.append("a dialog: a prompt was run as a script"), d.dismiss()))
    asked = []
    page.on("request", lambda r: asked.append(r.url) if not r.url.startswith(("file:", "blob:", "data:")) else None)
    yield page
    page.context.set_offline(False)
    page.close()
    assert not heard + asked, "\n".join(heard + asked)


def test_the_report_works_from_a_disk(page, written):
    page.goto(written.as_uri())
    seen = Seen(page)
    seen.pause()
    seen.press("End")
    names = seen.columns()
    last = [seen.picture(0, column) for column in range(4)]
    assert last[0] == last[names.index("kv_cache")] != last[names.index("step_cache")]
    expect(seen.wall.locator("tbody q").first).to_have_text(NASTY)
    seen.switch("Difference to nothing on")
    expect(seen.cell(0, names.index("kv_cache")).locator(".i2v-wall-over")).to_have_text("identical")
    seen.cell(0, names.index("step_cache")).click()
    expect(seen.wall.get_by_role("region", name="The chosen clip")).to_contain_text("interval 2")
    seen.effects.get_by_label("Effects on", exact=True).select_option("flops")
    expect(seen.effects.locator("[data-effect='step_cache'] .i2v-interval")).to_have_count(1)
    expect(page.locator("pre").first).to_contain_text("step_cache")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The report of a made-up study of 8 mixes, 4 pictures, 2 prompts and 2 seeds, with the clips of real photos moved about."""
    from test_study_views import made_up

    folder = tmp_path_factory.mktemp("large")
    study = made_up(folder / "out")
    start = time.perf_counter()
    return study.report(folder / "report.html"), time.perf_counter() - start


def test_a_large_report_is_small_and_quick(page, large):
    path, seconds = large
    assert path.stat().st_size <= 15e6
    start = time.perf_counter()
    page.goto(path.as_uri())
    seen = Seen(page)
    seen.pause()
    seen.press("End")
    expect(seen.wall.locator(".i2v-wall-count")).to_have_text("frame 16 / 16")
    assert seen.picture(0, 0)
    took = time.perf_counter() - start
    print(json.dumps(dict(bytes=path.stat().st_size, written_in=round(seconds, 1), interactive_in=round(took, 2))))
    assert took < 3, f"interactive after {took:.1f} s"
