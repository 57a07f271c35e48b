"""Drawing in a real JupyterLab: with the mouse, with the keyboard, with a finger; and where the drawing goes."""

import json
import re
from collections.abc import Callable

import pytest
from labkit import Panel, named, overlaps, settled, wait_for
from playwright.sync_api import Locator, expect

FEW = {"Steps": 3, "Frames": 6}
TOOLS = ["Arrow", "Still", "Region", "Erase", "Select"]


class Board:
    """The tab Draw, as a user finds it."""

    def __init__(self, panel: Panel):
        self.panel, self.page = panel, panel.page
        self.area = panel.show_tab("Draw")
        self.root = self.area.get_by_role("group", name="Draw", exact=True)
        self.stage = self.root.get_by_role("application")
        self.sheet = self.root.locator(".i2v-sheet")
        expect(self.root.get_by_role("button", name="Add an arrow")).to_be_enabled()
        self.stage.scroll_into_view_if_needed()

    def at(self, x: float, y: float) -> tuple[float, float]:
        box = self.sheet.bounding_box()
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def drag(self, *places: tuple[float, float]) -> None:
        first, *others = places
        self.page.mouse.move(*self.at(*first))
        self.page.mouse.down()
        for place in others:
            self.page.mouse.move(*self.at(*place), steps=6)
        self.page.mouse.up()

    def click(self, *place: float, shift: bool = False) -> None:
        if shift:
            self.page.keyboard.down("Shift")
        self.page.mouse.click(*self.at(*place))
        if shift:
            self.page.keyboard.up("Shift")

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name, exact=True)

    @property
    def items(self) -> Locator:
        return self.root.locator(".i2v-drawing-item")

    def says(self, *items: str | re.Pattern) -> None:
        expect(self.items).to_have_text(list(items))

    def plan(self, right: Callable[[dict], bool]) -> dict:
        """What Python has of it, as soon as it is what it should be: changes are on their way for a moment."""
        notebook = self.panel.notebook

        def ask() -> dict:
            notebook.run("import json\nprint(json.dumps(panel.guide.plan.options()))")
            answer = json.loads(notebook.text_of(-1))
            return answer if right(answer) else {}

        return wait_for(ask, 10, "the plan in Python")


@pytest.fixture
def board(panel) -> Board:
    return Board(panel)


def test_an_arrow_goes_with_the_clip(panel, board):
    """Drag an arrow, make the clip; its settings, the copied code and the YAML say the arrow; the history brings it back."""
    board.drag((0.3, 0.5), (0.5, 0.5))
    board.says("arrow 1: 20\u00a0% to the right")
    expect(panel.toggle("action_guidance")).to_be_checked()
    expect(panel.root.locator(".i2v-extension")).to_contain_text(["1 arrow: see the tab Draw"])
    panel.ask_for("nothing moves", **FEW)
    panel.make_clip()
    panel.notebook.run(
        "from i2v_lab.pipeline.mix import Mix\n"
        "options = panel.clip.settings['options']['action_guidance']\n"
        "given, mix = options['arrows'][0]['points'], Mix(panel.controls.mix.value)\n"
        "scope = {}\n"
        "exec(panel.code_to_run().replace('lab.load_pipeline()', 'pipe'), {'pipe': pipe}, scope)\n"
        "same = (scope['clip'].frames == panel.clip.frames).all()\n"
        "print(given, bool(same), Mix.from_yaml(mix.to_yaml()) == mix, len(str(options)))"
    )
    said = panel.notebook.text_of(-1).strip()
    assert re.fullmatch(r"\[\[0.3, 0.5\], \[0.5, 0.5\]\] True True \d\d\d", said), said
    panel.show_tab("Clip")
    plain = panel.player_at("End")
    panel.player.get_by_role("button", name="Show the plan", exact=True).click()
    assert settled(panel.lanes.first) != plain, "the plan is not shown over the clip"
    board = Board(panel)
    board.button("Clear").click()
    expect(panel.toggle("action_guidance")).not_to_be_checked()
    board.page.keyboard.press("Control+z")  # the button has no more to do: the keys are the picture's
    board.says(re.compile("^arrow 1"))
    expect(panel.toggle("action_guidance")).to_be_checked()
    board.button("Clear").click()
    expect(panel.toggle("action_guidance")).not_to_be_checked()
    panel.show_tab("History").locator(".i2v-run").first.get_by_role("button", name=named("restore")).click()
    Board(panel).says(re.compile("^arrow 1: 20"))
    expect(panel.toggle("action_guidance")).to_be_checked()


def test_by_keyboard_alone(panel, board):
    """Add an arrow, move its end and all of it, delete it, and take that back."""
    keys = panel.page.keyboard
    board.button("Arrow").focus()
    for _ in range(20):
        if panel.focused() == "Add an arrow":
            break
        keys.press("Tab")
    keys.press("Enter")
    board.says(re.compile("^arrow 1: 20\u00a0% to the right"))
    expect(board.stage).to_be_focused()
    for key in ("ArrowRight", "ArrowRight", *["Shift+ArrowUp"] * 4, "Space", "ArrowDown"):
        keys.press(key)  # the end; then, by Space, all of it
    moved = lambda x0, y0, x1, y1: x0 == 0.4 and x1 > 0.6 and y1 < 0.5 < y0  # the end right and up, all of it down
    board.plan(lambda plan: "arrows" in plan and moved(*sum(plan["arrows"][0]["points"], [])))
    board.stage.focus()  # a cell was run meanwhile
    keys.press("Delete")
    board.says()
    keys.press("Control+z")
    board.says(re.compile("^arrow 1: .* to the right and .* up"))
    for _ in range(9):
        keys.press("Control+z")
    board.says()
    for _ in range(9):
        keys.press("Control+Shift+z")
    board.says()  # done again, to the end: it was deleted
    keys.press("Control+z")
    board.items.first.focus()
    keys.press("Delete")
    board.says()
    expect(panel.toggle("action_guidance")).not_to_be_checked()


def test_a_large_area_and_a_path_by_keyboard(panel, board):
    """Dabs go where the brush is, into the area that is selected; they can be wiped, and A takes an arrow further."""
    keys, percent = panel.page.keyboard, lambda item: float(re.search(r"([\d.]+)\u00a0%", item.text_content())[1])
    board.button("Still").click()
    board.stage.focus()
    keys.press("Enter")
    board.says(re.compile("^still 1: 0.3"))
    for _ in range(3):
        for key in ("Shift+ArrowRight", "Shift+ArrowRight", "Enter"):
            keys.press(key)
    board.says(re.compile("^still 1"))
    assert percent(board.items.first) >= 1, "four dabs are no more than one"
    keys.press("Space")  # none is selected
    keys.press("Enter")
    board.says(re.compile("^still 1"), re.compile("^still 2: 0.3"))
    board.button("Erase").click()
    board.stage.focus()
    keys.press("Enter")
    board.says(re.compile("^still 1"))
    board.button("Arrow").click()
    board.stage.focus()
    for key in ("Enter", "a", "ArrowUp", "Enter"):
        keys.press(key)
    board.says(
        re.compile("^arrow 1: path of 3 points, ends .* up$"), re.compile("^arrow 2: 20"), re.compile("^still 1")
    )
    plan = board.plan(lambda plan: len(plan.get("arrows", ())) == 2)
    assert plan["arrows"][0]["points"][0] != plan["arrows"][1]["points"][0], "one lies on the other"
    assert len({tuple(stroke["points"][0]) for stroke in plan["still"][0]["strokes"] if "erase" not in stroke}) == 4


def test_dabs_are_things(panel, board):
    """One click of a brush is seen, selected, moved and erased; a mask file is seen, too."""
    empty = settled(board.sheet.locator("canvas"))
    board.button("Still").click()
    board.click(0.3, 0.3)
    board.says(re.compile("^still 1: 0.3"))
    there = settled(board.sheet.locator("canvas"))
    assert there != empty
    board.button("Select").click()
    board.items.first.click()  # none is selected
    board.drag((0.305, 0.3), (0.6, 0.3))
    board.plan(lambda plan: plan["still"][0]["strokes"][0]["points"] == [[0.595, 0.3]])
    board.button("Erase").click()
    board.root.get_by_label(re.compile("^Brush width")).fill("12")
    board.click(0.6, 0.3)
    board.says()
    expect(panel.toggle("action_guidance")).not_to_be_checked()
    panel.notebook.run(
        "from PIL import Image\nImage.new('L', (8, 8), 255).save('all.png')\n"
        "panel.set_mix({'action_guidance': {'still': [{'mask': 'all.png'}]}})"
    )
    board.says("still 1: 100\u00a0% of the picture, mask all.png")
    panel.notebook.run(
        "from i2v_lab.views.draw import overlay_of\n"
        "over, frames = overlay_of(panel.controls.mix.value, 1, (96, 144)), panel.player.lanes[0]['frames']\n"
        "panel.show_frames(frames, (96, 144), 'clip', **over)"
    )
    panel.show_tab("Clip")
    plain = settled(panel.lanes.first)
    panel.player.get_by_role("button", name="Show the plan", exact=True).click()
    assert settled(panel.lanes.first) != plain, "an area alone is not shown over the clip"


def test_what_is_out_of_bounds_is_said(panel, board):
    """A number that is not taken changes nothing; an arrow ends at the picture's edge, and the hint says so."""
    board.button("Region").click()
    board.drag((0.3, 0.7), (0.5, 0.7))
    amount = board.root.get_by_label(re.compile("^Amount"))
    amount.fill("5")
    amount.press("Enter")
    expect(board.root.get_by_role("alert")).to_have_text("5 was not taken: give more than 0, and 4 at most.")
    expect(amount).to_have_value("1")
    amount.fill("2")
    amount.press("Enter")
    expect(board.root.get_by_role("alert")).to_have_count(0)
    board.says(re.compile("^region 1: walk, right × 2, "))
    board.button("Arrow").click()
    board.page.mouse.move(*board.at(0.8, 0.3))
    board.page.mouse.down()
    board.page.mouse.move(*board.at(1.1, 0.3), steps=4)
    expect(board.root.locator(".i2v-drawing-hint")).to_contain_text("An arrow ends at the picture's edge")
    board.page.mouse.up()
    start = board.root.get_by_label("Moves from, share of the clip", exact=True)
    start.fill("1.5")
    start.press("Enter")
    expect(board.root.get_by_role("alert")).to_have_text("1.5 was not taken: give a share of the clip, 0 to 1.")
    plan = board.plan(lambda plan: "arrows" in plan)
    assert plan["arrows"] == [dict(points=[[0.8, 0.3], [1, 0.3]])] and plan["regions"][0]["amount"] == 2


def test_paths_pins_and_paint(panel, board):
    """A click is a pin, Shift+click takes an arrow further; paint a still area and a region, erase; all of it is small."""
    board.click(0.2, 0.6)
    for place in ((0.4, 0.4), (0.6, 0.6)):
        board.click(*place, shift=True)
    board.click(0.8, 0.8)
    board.says("arrow 1: path of 3 points, ends 40\u00a0% to the right", "arrow 2: stays where it is")
    board.button("Still").click()
    board.drag((0.1, 0.1), (0.5, 0.15), (0.9, 0.1))
    board.button("Region").click()
    board.root.get_by_label("Action", exact=True).select_option("run")
    board.root.get_by_label("Direction", exact=True).select_option("left")
    board.drag((0.3, 0.8), (0.35, 0.9), (0.4, 0.8), (0.5, 0.9))
    still, region = re.compile(r"^still 1: \d+\u00a0% of"), re.compile("^region 1: run, left, ")
    board.says(re.compile("^arrow 1"), re.compile("^arrow 2"), still, region)
    plan = board.plan(lambda plan: "regions" in plan)
    assert plan["regions"][0]["action"] == "run" and len(str(plan)) < 2000
    assert plan["arrows"][0]["times"][0::2] == [0, 1] and len(plan["arrows"][1]["points"]) == 1
    board.button("Erase").click()
    board.drag((0.1, 0.1), (0.5, 0.15), (0.9, 0.1))
    board.says(re.compile("^arrow 1"), re.compile("^arrow 2"), region)
    board.button("Undo").click()
    board.says(re.compile("^arrow 1"), re.compile("^arrow 2"), still, region)


def test_moving_timing_and_a_mistake(panel, board):
    """Drag an end elsewhere, say when it moves, paint over its start: that is said, and nothing is lost."""
    board.drag((0.3, 0.5), (0.5, 0.5))
    board.drag((0.5, 0.5), (0.5, 0.3))
    board.says("arrow 1: 20\u00a0% to the right and 20\u00a0% up")
    board.root.get_by_label("Moves to, share of the clip", exact=True).fill("0.5")
    board.root.get_by_label("Moves to, share of the clip", exact=True).press("Enter")
    board.says(re.compile("from 0\u00a0% to 50\u00a0% of the clip$"))
    board.plan(lambda plan: plan["arrows"] == [dict(points=[[0.3, 0.5], [0.5, 0.3]], times=[0, 0.5])])
    board.button("Still").click()
    board.drag((0.3, 0.5), (0.32, 0.5))
    expect(board.root.get_by_role("alert")).to_contain_text("arrow 1 begins where the picture must stay still")
    board.says(re.compile("^arrow 1"), re.compile("^still 1"))
    panel.generate.click()
    panel.until("error: .*arrow 1 begins where the picture must stay still.*")
    board.button("Delete still 1").click()
    expect(board.root.get_by_role("alert")).to_have_count(0)


def test_what_python_says_is_drawn(panel, board):
    """A mix from a cell is drawn; switched off it stays, and can be switched on from there; another picture keeps it."""
    panel.notebook.run("panel.set_mix({'action_guidance': {'strength': 0.5, 'still': [{'box': [0, 0, 1, 0.5]}]}})")
    board.says("still 1: 50\u00a0% of the picture")
    panel.toggle("action_guidance").uncheck()
    board.button("Switch it on").click()
    expect(panel.toggle("action_guidance")).to_be_checked()
    panel.path.fill("../data/photos/scikit-image__coffee.jpg")
    panel.path.press("Enter")
    expect(board.root.get_by_text("Another picture; 1 still area kept")).to_be_visible()
    board.drag((0.3, 0.8), (0.5, 0.8))
    board.says(re.compile("^arrow 1"), re.compile("^still 1"))
    expect(board.root.get_by_text("Another picture")).to_have_count(0)
    panel.notebook.run("print(panel.controls.mix.value['action_guidance']['strength'])")
    assert panel.notebook.text_of(-1).split()[0] == "0.5"  # the forecast may print there, too


def test_escape_gives_an_arrow_up_and_no_run(panel, board):
    panel.ask_for("the horse walks", Steps=60, Frames=64)
    panel.generate.click()
    panel.until(r"running ([1-9]|\d\d)/60")
    board = Board(panel)
    board.page.mouse.move(*board.at(0.3, 0.3))
    board.page.mouse.down()
    board.page.mouse.move(*board.at(0.5, 0.3))
    board.page.keyboard.press("Escape")
    board.page.mouse.up()
    board.says()
    panel.page.wait_for_timeout(500)
    assert panel.status.text_content().startswith("running")
    board.page.keyboard.press("Escape")
    panel.until("stopped", 10)


def test_with_a_finger(panel, board):
    """A finger draws, and does not scroll the page."""
    touch = panel.page.context.new_cdp_session(panel.page)
    send = lambda kind, *points: touch.send(
        "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [dict(x=x, y=y) for x, y in points]}
    )
    top = board.sheet.bounding_box()["y"]
    send("touchStart", board.at(0.5, 0.7))
    for k in range(1, 7):
        send("touchMove", board.at(0.5, 0.7 - 0.05 * k))
    send("touchEnd")
    board.says(re.compile("^arrow 1: 30\u00a0% up"))
    assert board.sheet.bounding_box()["y"] == top


@pytest.mark.parametrize("theme", ["Light", "Dark"])
@pytest.mark.parametrize("width", [900, 1280])
def test_it_fits(panel, width, theme, request):
    """Nothing must be scrolled sideways, and no two tools lie upon each other."""
    panel.look(width, theme, request)
    board = Board(panel)
    board.drag((0.3, 0.4), (0.4, 0.3), (0.6, 0.5))
    board.button("Region").click()
    board.drag((0.3, 0.7), (0.5, 0.7))
    board.button("Still").click()
    board.drag((0.1, 0.1), (0.9, 0.1))
    board.items.nth(2).click()
    controls = {name: board.button(name) for name in (*TOOLS, "Undo", "Redo", "Clear")}
    controls |= {"picture": board.sheet, "brush": board.root.get_by_label(re.compile("^Brush width"))}
    controls |= {name: board.root.get_by_label(name, exact=True) for name in ("Action", "Direction")}
    assert not overlaps(controls)
    assert not panel.crowded()
    wait_for(lambda: board.items.count() == 3, 5, "three things are drawn")


def test_in_a_cell_of_its_own(open_notebook):
    """Without the panel: draw, and give the plan to a pipeline."""
    notebook = open_notebook(
        "drawing",
        [
            "from i2v_lab.views.draw import DrawPlan\nd = DrawPlan('../data/photos/gcompris-qt-data__erase_horse.jpg')\nd",
            "import i2v_lab as lab\npipe = lab.load_pipeline(threads=1)",
        ],
    )
    notebook.run_all()
    board = Board.__new__(Board)
    board.page, board.root = notebook.page, notebook.page.get_by_role("group", name="Draw", exact=True)
    board.sheet, board.stage = board.root.locator(".i2v-sheet"), board.root.get_by_role("application")
    expect(board.root.get_by_role("button", name="Add an arrow")).to_be_enabled()
    board.stage.scroll_into_view_if_needed()
    board.drag((0.3, 0.5), (0.5, 0.5))
    board.drag((0.7, 0.2), (0.7, 0.4))
    board.stage.press("Control+z")
    board.says(re.compile("^arrow 1: 20\u00a0% to the right"))
    make = "mix={'action_guidance': d.plan.options()}, num_inference_steps=2, num_frames=3"
    notebook.run(
        f"clip = pipe.generate(d.image, 'nothing moves', {make})\n"
        "print(clip.settings['options']['action_guidance']['arrows'][0]['points'], len(d.plan.arrows))"
    )
    assert notebook.text_of(-1).strip() == "[[0.3, 0.5], [0.5, 0.5]] 1"
