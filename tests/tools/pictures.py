"""Make the pictures of the panel, of a drawing and of a study, nbs/images/lab.jpg, draw.jpg and study.jpg: `make pictures`.

A real JupyterLab and a browser, as in the tests: a clip is made, and the attention tab shows what the subject reads;
a plan is drawn; a small study is run and looked at.
"""

import runpy
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import BrowserContext, Locator, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "nbs" / "images"
sys.path.insert(0, str(ROOT / "tests" / "browser"))

from labkit import FLAGS, JupyterLab, Notebook, Panel  # noqa: E402
from test_draw import Board  # noqa: E402

LIMIT = 300_000  # bytes
STUDY = """
import i2v_lab as lab
photos = {name: f"../data/photos/gcompris-qt-data__erase_{name}.jpg" for name in ("alpaca", "gosling", "horse", "squirrel")}
study = lab.Study(photos, {"make it move": "walk", "zoom in slowly": "zoom_in"}, extensions=["action_prior", "step_cache"],
    out="runs/study", options=dict(steps=12, frames=8, size=160), pipe=lab.load_pipeline()).run(progress=False)
view = study.view()
view
"""


@contextmanager
def workplace(browser: str, height: int) -> Iterator[tuple[JupyterLab, BrowserContext]]:
    "JupyterLab, and a window of a browser."
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = JupyterLab(Path(folder))
        try:
            chrome = playwright.chromium.launch(executable_path=browser, args=[*FLAGS, "--no-sandbox"])
            context = chrome.new_context(viewport={"width": 1360, "height": height})
            context.set_default_timeout(20_000)
            yield server, context
        finally:
            server.stop()


def save(shown: Locator, name: str) -> None:
    "Write a picture of what is shown."
    path = IMAGES / name
    Image.open(BytesIO(shown.screenshot())).convert("RGB").save(path, quality=82, optimize=True)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")
    assert path.stat().st_size < LIMIT, f"more than {LIMIT / 1000:.0f} kB"


def picture_of_panel(browser: str) -> None:
    "The panel after a clip, the attention tab in front."
    with workplace(browser, height=1500) as (server, context):
        notebook = Notebook(server, context, "lab", ROOT / "nbs" / "lab.ipynb")
        notebook.run_all(120)
        notebook.page.keyboard.press("Control+b")  # more room without the files
        panel = Panel(notebook)
        panel.open_extensions()
        panel.toggle("action_prior").check()
        box = notebook.page.get_by_role("checkbox", name="action_prior", exact=True)
        row = panel.root.locator(".i2v-extension").filter(has=box)
        row.get_by_role("button", name="details").click()  # fold its options away
        panel.ask_for("make it move")
        panel.make_clip(120)
        content = panel.show_tab("Attention")
        content.get_by_role("button", name="subject", exact=True).click()
        expect(panel.root.locator(".i2v-needs-text").first).to_contain_text("GiB", timeout=90_000)  # the forecast
        expect(panel.root.locator(".i2v-needs-old")).to_have_count(0, timeout=90_000)  # of what is on now
        notebook.page.wait_for_timeout(1500)
        save(panel.root, "lab.jpg")


def picture_of_drawing(browser: str) -> None:
    "A plan on a picture: the horse goes to the right, the mountains stay still."
    with workplace(browser, height=1500) as (server, context):
        notebook = Notebook(server, context, "draw", ["import i2v_lab as lab\npanel = lab.Lab()\npanel"])
        notebook.run_all(120)
        notebook.page.keyboard.press("Control+b")
        board = Board(Panel(notebook))
        board.button("Still").click()
        board.drag((0.04, 0.2), (0.3, 0.12), (0.5, 0.05), (0.75, 0.16), (0.96, 0.1))
        board.button("Region").click()
        board.drag((0.1, 0.93), (0.5, 0.95), (0.9, 0.92))
        board.root.get_by_label("Action", exact=True).select_option("static")
        board.button("Arrow").click()
        board.drag((0.57, 0.36), (0.7, 0.3), (0.82, 0.42))
        board.drag((0.3, 0.5), (0.5, 0.48))
        notebook.page.wait_for_timeout(1500)
        save(board.root, "draw.jpg")


def picture_of_study(browser: str) -> None:
    "All clips of a study, and what each extension did."
    with workplace(browser, height=2000) as (server, context):
        notebook = Notebook(server, context, "study", [])
        notebook.page.keyboard.press("Control+b")
        notebook.run(STUDY, 300)
        wall = notebook.page.get_by_role("group", name="Wall", exact=True)
        wall.get_by_role("button", name="Pause", exact=True).click()
        wall.locator(".i2v-wall-box").press("End")
        notebook.page.wait_for_timeout(1500)
        save(notebook.page.locator(".i2v-panel:visible").last, "study.jpg")


def main():
    browser = runpy.run_path(str(ROOT / "tests" / "tools" / "browser.py"))["find_browser"]()
    picture_of_panel(browser)
    picture_of_drawing(browser)
    picture_of_study(browser)


if __name__ == "__main__":
    main()
