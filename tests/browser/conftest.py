"""A JupyterLab and a browser for all tests here, and a record of what they saw."""

import os
import re
import runpy
import shutil
from pathlib import Path

import pytest
from labkit import FLAGS, ROOT, JupyterLab, Notebook, Panel
from playwright.sync_api import sync_playwright

ARTEFACTS = Path(__file__).parent / "artefacts"
SHARED = ["import i2v_lab as lab\npipe = lab.load_pipeline(threads=1)"]


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path. Without one the tests fail; only a user who says so may leave them out, and never on CI."""
    tool = runpy.run_path(str(ROOT / "tests" / "tools" / "browser.py"))
    if os.environ.get("I2V_LAB_NO_BROWSER") == "1" and not os.environ.get("CI"):
        pytest.skip("I2V_LAB_NO_BROWSER=1: the panel was not tried in a real JupyterLab")
    return tool["find_browser"]() or pytest.fail(tool["WANTED"], pytrace=False)


@pytest.fixture(scope="session")
def context(chromium):
    """The browser's window."""
    root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    shutil.rmtree(ARTEFACTS, ignore_errors=True)
    ARTEFACTS.mkdir()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=[*FLAGS, *root], ignore_default_args=["--hide-scrollbars"]
        )
        context = browser.new_context(viewport={"width": 1400, "height": 1000}, reduced_motion="no-preference")
        context.set_default_timeout(10_000)
        yield context
        browser.close()


@pytest.fixture(scope="session")
def jupyterlab(chromium, tmp_path_factory):
    """JupyterLab, isolated from the user's."""
    server = JupyterLab(tmp_path_factory.mktemp("jupyter"))
    yield server
    server.stop()


@pytest.fixture
def open_notebook(request, jupyterlab, context):
    """Opens notebooks; their kernels end with the test, and what they complain of fails it."""
    opened = []

    def open_one(name: str, cells: list[str] | Path) -> Notebook:
        opened.append(Notebook(jupyterlab, context, name, cells))
        request.node.notebook = opened[-1]
        return opened[-1]

    yield open_one
    complaints = [c for notebook in opened for c in notebook.complaints()]
    for notebook in opened:
        notebook.close()
    assert not complaints, "\n".join(complaints)


@pytest.fixture(scope="session")
def workbench(jupyterlab, context):
    """One notebook with the model loaded, for all tests that only need a new panel."""
    held = {}

    def notebook() -> Notebook:
        if "it" not in held:
            held["it"] = Notebook(jupyterlab, context, "workbench", SHARED)
            held["it"].run_all()
        return held["it"]

    def discard() -> None:
        if "it" in held:
            held.pop("it").close()

    yield notebook, discard
    discard()


@pytest.fixture
def panel(request, workbench):
    """A new panel in a notebook that others used before; after a failure the next test gets a new notebook."""
    get, discard = workbench
    notebook = request.node.notebook = get()
    notebook.ears.heard.clear()
    notebook.page.evaluate("window.lost = []")
    notebook.page.set_viewport_size({"width": 1400, "height": 1000})
    notebook.page.evaluate("window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    notebook.run("panel = lab.Lab(pipe.use())\npanel")
    yield Panel(notebook)
    complaints = notebook.complaints()
    if getattr(request.node, "failed", False):
        discard()
    assert not complaints, "\n".join(complaints)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    notebook = getattr(item, "notebook", None)
    if report.when == "call" and notebook is not None and not notebook.page.is_closed():
        item.failed = not report.passed
        name = re.sub(r"\W+", "-", item.name).strip("-") + ("" if report.passed else "-failed")
        try:
            notebook.page.screenshot(path=ARTEFACTS / f"{name}.png")
        except Exception as error:  # a page that is gone has no looks; the story says the rest
            report.sections.append(("no screenshot", str(error)))
        if report.failed:
            report.sections.append((f"the notebook ({name}.png)", notebook.story()))
    return report
