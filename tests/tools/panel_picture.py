"""Make the README's picture of the panel, nbs/images/lab.jpg: `python tests/tools/panel_picture.py [PATH]`.

A real JupyterLab and a browser, as in the tests; a clip is made, and the attention tab shows what the subject reads.
"""

import runpy
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "browser"))

from labkit import FLAGS, JupyterLab, Notebook, Panel  # noqa: E402

LIMIT = 300_000  # bytes


def picture_of_panel(browser: Path) -> Image.Image:
    "The panel after a clip, the attention tab in front."
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = JupyterLab(Path(folder))
        try:
            chrome = playwright.chromium.launch(executable_path=browser, args=[*FLAGS, "--no-sandbox"])
            context = chrome.new_context(viewport={"width": 1360, "height": 1500})
            context.set_default_timeout(20_000)
            notebook = Notebook(server, context, "lab", ROOT / "nbs" / "lab.ipynb")
            notebook.run_all(120)
            notebook.page.keyboard.press("Control+b")  # more room without the files
            panel = Panel(notebook)
            panel.open_extensions()
            panel.toggle("action_prior").check()
            panel.ask_for("make it move")
            panel.make_clip(120)
            content = panel.show_tab("Attention")
            content.get_by_role("button", name="subject", exact=True).click()
            notebook.page.wait_for_timeout(1500)
            return Image.open(BytesIO(panel.root.screenshot())).convert("RGB")
        finally:
            server.stop()


def main():
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "nbs" / "images" / "lab.jpg"
    browser = runpy.run_path(str(ROOT / "tests" / "tools" / "browser.py"))["find_browser"]()
    picture_of_panel(browser).save(path, quality=82, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    assert path.stat().st_size < LIMIT, f"more than {LIMIT / 1000:.0f} kB"


if __name__ == "__main__":
    main()
