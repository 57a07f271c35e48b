"""From a name, or a notebook, to a package that a colleague installs: in an environment of their own, as they would."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from i2v_lab.packaging.package import package
from i2v_lab.packaging.project import new_project

GROWN = [
    "#| export\nimport i2v_lab as lab\nfrom i2v_lab.extensions import Extension",
    '#| export\n@lab.register\nclass Halted(Extension):\n    "No motion."\n\n    name = "halted"\n\n'
    "    def decode(self, call_next, latents, image):\n        return call_next(latents * 0, image)",
    "assert open('note.txt').read() == 'beside it'",
]
LISTED = "import json, i2v_lab as lab; print(json.dumps([vars(row) for row in lab.list_extensions()]))"
PANEL = """
import i2v_lab as lab
panel = lab.Lab()
row = panel.controls.mix.rows["{name}"]
row.box.value = True
assert row.cls is not None and not row.problem.value, row.problem.value
print(row.badge.value, row.about.value, sep="\\n")
"""


@pytest.fixture(scope="module")
def colleague(tmp_path_factory):
    """An environment of somebody else, with this one's libraries; installs what it is called with."""
    folder = tmp_path_factory.mktemp("colleague")
    venv.create(folder / "env", symlinks=True, with_pip=False)
    python = folder / "env" / "bin" / "python"
    (site,) = (folder / "env" / "lib").glob("*/site-packages")
    paths = [sysconfig.get_path("purelib"), str(Path(__file__).parents[1])]
    (site / "libraries.pth").write_text("\n".join(paths) + "\n")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "I2V_LAB"))}

    def run(*words) -> str:
        done = subprocess.run([str(w) for w in (python, *words)], cwd=folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def install(wheel: Path) -> None:
        words = ["-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
        subprocess.run([sys.executable, *map(str, words)], check=True, env=env)

    return run, install


@pytest.fixture(scope="module")
def grown(tmp_path_factory) -> Path:
    """A notebook as it comes about in the lab, and a file beside it."""
    folder = tmp_path_factory.mktemp("grown")
    cells = [
        dict(cell_type="code", id=f"c{i}", execution_count=None, metadata={}, outputs=[], source=code)
        for i, code in enumerate(GROWN)
    ]
    (folder / "note.txt").write_text("beside it")
    (folder / "Try.ipynb").write_text(json.dumps(dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=5)))
    return folder / "Try.ipynb"


def test_a_notebook_ends_in_somebody_elses_panel(grown, colleague):
    run, install = colleague
    said = []
    made = package(grown, grown.parent / "out", say=said.append)
    assert made.checks["halted"] > 40 and [str(p) for p in made.taken_along] == ["note.txt"]
    assert "found Halted ('halted')" in said and said[-1].startswith("built ")
    install(made.wheel)
    row = next(row for row in json.loads(run("-c", LISTED).splitlines()[-1]) if row["name"] == "halted")
    assert (row["status"], row["origin"]) == ("ok", "i2v-lab-halted 0.1.0")
    assert "i2v-lab-halted 0.1.0\nNo motion." in run("-c", PANEL.format(name="halted"))


def test_a_new_project_works_as_it_is(tmp_path):
    made = new_project("pulse", tmp_path / "pulse")
    env = {k: v for k, v in os.environ.items() if k != "IN_TEST"} | {"PYTHONPATH": str(made)}
    test = Path(sysconfig.get_path("scripts")) / "nbdev-test"
    done = subprocess.run([test], cwd=made, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    stale = {p: p.read_bytes() for p in (made / "i2v_lab_pulse").glob("*.py")}
    assert len(stale) == 3
    again = "from nbdev.doclinks import nbdev_export; nbdev_export()"
    subprocess.run([sys.executable, "-c", again], cwd=made, env=env, check=True)
    assert {p: p.read_bytes() for p in stale} == stale
