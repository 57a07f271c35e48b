"""From a name, or a notebook, to a package that a colleague installs: in an environment of their own, as they would."""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path
from types import SimpleNamespace

import pytest

from i2v_lab.core.errors import InputError
from i2v_lab.packaging import package as packaging
from i2v_lab.packaging.package import package
from i2v_lab.packaging.project import new_project

GROWN = [
    "#| export\nimport i2v_lab as lab\nfrom i2v_lab.extensions import Extension",
    '#| export\n@lab.register\nclass Halted(Extension):\n    "No motion."\n\n    name = "halted"\n\n'
    "    def decode(self, call_next, latents, image):\n        return call_next(latents * 0, image)",
    "#| exporti\nfrom pathlib import Path\n\n"
    'WORDS = (Path(globals().get("__file__", "")).parent / "kept/words.txt").read_text()',
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
        dict(cell_type="code", id=f"c{i}", execution_count=i, metadata=dict(collapsed=True), outputs=[], source=code)
        for i, code in enumerate(GROWN)
    ]
    (folder / "note.txt").write_text("beside it")
    (folder / "kept").mkdir()
    (folder / "kept" / "words.txt").write_text("slowly")
    (folder / "Try.ipynb").write_text(json.dumps(dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=5)))
    return folder / "Try.ipynb"


def test_a_notebook_ends_in_somebody_elses_panel(grown, colleague, monkeypatch):
    run, install = colleague
    said, heard = [], []
    monkeypatch.setattr(packaging, "replaced", lambda wanted: f"{wanted} 0.0.9")
    made = package(grown, grown.parent / "out", say=said.append, hear=lambda *given: heard.append(given))
    assert said[0].startswith("replaces i2v-lab-halted 0.0.9, which is installed;")
    assert [done for _, done, _ in heard] == [*range(1, heard[0][2] + 1)] and {cls for cls, *_ in heard} == {"Halted"}
    assert made.checks["halted"] > 40 and [str(p) for p in made.taken_along] == ["kept/words.txt", "note.txt"]
    assert "found Halted ('halted')" in said and said[-1].startswith("built ")
    with zipfile.ZipFile(made.wheel) as wheel:
        (about,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
        assert "Summary: No motion.\n" in wheel.read(about).decode()
        assert b"register" not in wheel.read("i2v_lab_halted/halted.py")
    install(made.wheel)
    row = next(row for row in json.loads(run("-c", LISTED).splitlines()[-1]) if row["name"] == "halted")
    assert (row["status"], row["origin"]) == ("ok", "i2v-lab-halted 0.1.0")
    assert "i2v-lab-halted 0.1.0\nNo motion." in run("-c", PANEL.format(name="halted"))
    assert run("-c", "from i2v_lab_halted.halted import WORDS; print(WORDS)").split() == ["slowly"]
    assert not [*made.folder.glob("*.egg-info"), *made.folder.glob(".dist*")]
    same_after(made.folder, "from nbdev.clean import nbdev_clean; nbdev_clean()", made.folder.glob("nbs/*.ipynb"))


@pytest.mark.skipif(os.name != "posix", reason="there is no kill")
def test_a_killed_packaging_leaves_nothing(grown, tmp_path):
    words = [sys.executable, "-m", "i2v_lab.cli", "extensions", "package", grown, "--out", tmp_path / "out"]
    with subprocess.Popen([*map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not process.stdout.readline().startswith("found"):  # the notebook is being run
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate()
    assert (process.returncode, said, os.listdir(tmp_path)) == (128 + signal.SIGTERM, "", [])


def test_a_new_project_works_as_it_is(tmp_path):
    made = new_project("pulse", tmp_path / "pulse")
    env = {k: v for k, v in os.environ.items() if k != "IN_TEST"} | {"PYTHONPATH": str(made)}
    test = Path(sysconfig.get_path("scripts")) / "nbdev-test"
    done = subprocess.run([test], cwd=made, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    same_after(made, "from nbdev.doclinks import nbdev_export; nbdev_export()", (made / "i2v_lab_pulse").glob("*.py"))


def same_after(project: Path, code: str, paths) -> None:
    """Files of a project are what this code of nbdev makes of them."""
    before = {p: p.read_bytes() for p in paths}
    assert before
    env = {k: v for k, v in os.environ.items() if k != "IN_TEST"} | {"PYTHONPATH": str(project)}
    subprocess.run([sys.executable, "-c", code], cwd=project, env=env, check=True)
    assert {p: p.read_bytes() for p in before} == before


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project whose proof costs nothing."""
    monkeypatch.setattr(packaging, "prove", lambda *_: {"pulse": 1})
    made = new_project("pulse", tmp_path / "pulse")
    notebook = made / "nbs" / "00_pulse.ipynb"
    cells = json.loads(notebook.read_text())
    cells["cells"][2]["source"] = "#| export\nfrom i2v_lab_pulse import __version__\nWORDS = 'words.txt'"
    notebook.write_text(json.dumps(cells))
    (made / "nbs" / "words.txt").write_text("new")
    (made / "i2v_lab_pulse" / "words.txt").write_text("old")
    (made / "i2v_lab_pulse" / "__init__.py").write_text("__version__ = '0.1.0'\n")
    return made


def test_what_a_project_is_follows_its_notebook_until_its_author_says_it(project):
    notebook, file = project / "nbs" / "00_pulse.ipynb", project / "pyproject.toml"
    package(notebook)
    assert 'description = "Less of the motion, or more of it."\n' in file.read_text()
    cells = packaging.read_notebook(notebook)
    cells["cells"][0]["source"] = "# Pulse\n\n> It beats"
    before = file.read_text()
    packaging.describe(file, packaging.described(cells))
    assert file.read_text() == before
    file.write_text(before.replace("Less of the motion, or more of it.", "An extension of i2v_lab"))
    packaging.describe(file, packaging.described(cells))
    assert 'description = "It beats"\n' in file.read_text()


def test_a_project_is_packaged_with_its_files_as_they_are_now(project):
    for name in ("build", "mine.egg-info"):
        (project / name).mkdir()
        (project / name / "note.txt").write_text("the author's own")
    (project / "i2v_lab_pulse" / "__pycache__").mkdir()
    (project / "i2v_lab_pulse" / "__pycache__" / "pulse.pyc").write_text("of this machine")
    made = package(project / "nbs" / "00_pulse.ipynb", version="0.2.0")
    assert made.wheel.name == "i2v_lab_pulse-0.2.0-py3-none-any.whl"
    with zipfile.ZipFile(made.wheel) as wheel:
        assert wheel.read("i2v_lab_pulse/words.txt") == b"new"
        assert not [name for name in wheel.namelist() if name.endswith(".pyc")]
    assert {p.parent.name for p in project.glob("*/note.txt")} == {"build", "mine.egg-info"}
    assert not [*project.glob("i2v*.egg-info"), *project.glob(".dist*")]


def test_version_and_entry_points_of_a_project_wait_for_the_proof(project, monkeypatch):
    notebook, files = project / "nbs" / "00_pulse.ipynb", [project / "pyproject.toml", *project.glob("*/__init__.py")]
    offers = 'pulse = "i2v_lab_pulse.pulse:Pulse"\n'
    files[0].write_text(files[0].read_text().replace(offers, offers + 'gone = "i2v_lab_pulse.pulse:Gone"\n'))
    before = [p.read_text() for p in files]

    def fails(*_):
        seen.append([p.read_text() for p in files])
        raise InputError("not today")

    seen = []
    for step in ("build", "prove"):
        monkeypatch.setattr(packaging, step, fails)
        with pytest.raises(InputError, match="not today"):
            package(notebook, version="0.2.0")
        assert [p.read_text() for p in files] == before
    changed, untouched = seen
    assert changed[1] == '__version__ = "0.2.0"\n' and "gone" not in changed[0] and untouched == before


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('dynamic = ["version"]', 'version = "1"', "has a version of its own"),
        ('name = "i2v-lab-pulse"', 'name = "cool-pulse"', "say which package it is in pyproject.toml, as lib_path"),
    ],
)
def test_what_the_project_says_otherwise_is_refused(project, old, new, says):
    file = project / "pyproject.toml"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(InputError, match=says):
        package(project / "nbs" / "00_pulse.ipynb", version="0.2.0")


def test_a_taught_action_is_packaged_again_while_it_is_installed(root, tmp_path, monkeypatch):
    about = tmp_path / "i2v_lab_tilt_up-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: i2v-lab-tilt-up\nVersion: 1\n")
    entry = SimpleNamespace(name="tilt_up", value="i2v_lab_tilt_up.tilt_up:TiltUp", dist=PathDistribution(about))
    monkeypatch.setattr(packaging, "offered", lambda: {"tilt_up": [entry]})
    monkeypatch.setattr("i2v_lab.pipeline.registry.offered", lambda: {"tilt_up": [entry]})
    shutil.copyfile(root / "data" / "taught" / "tilt_up.safetensors", tmp_path / "a copy (2).safetensors")
    (tmp_path / "made").mkdir()
    notebook = packaging.notebook_of_taught(tmp_path / "a copy (2).safetensors", tmp_path / "made")
    cells = packaging.read_notebook(notebook)
    assert packaging.checked(notebook, cells, None, []) == "tilt_up"  # whatever the file is called
    assert "TiltUp = load_taught(" in "".join(packaging.sources(cells, True))
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == ["tilt_up.ipynb", "tilt_up.safetensors"]
    packaging.check_names(["tilt_up"], "i2v-lab-tilt-up")
    with pytest.raises(InputError, match="is taken"):
        packaging.check_names(["tilt_up"], "i2v-lab-other")
