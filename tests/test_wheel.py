"""The wheel works where there is no checkout: everything it needs is inside."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from PIL import Image

OUTSIDE = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "I2V_LAB"))}


def run(*words, env: dict[str, str] = OUTSIDE, **options) -> str:
    """Run a program; its output, or a failure that shows it."""
    words = [str(word) for word in words]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=env, **options)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(root, shipped_weights, tmp_path_factory) -> Path:
    """The wheel, built from a copy so that no earlier build can leak into it."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(root / "i2v_lab", folder / "i2v_lab", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, folder)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", folder, "--outdir", folder / "dist")
    (path,) = (folder / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def elsewhere(wheel, tmp_path_factory) -> Path:
    """A new environment with the wheel in it, and the libraries of this one."""
    folder = tmp_path_factory.mktemp("elsewhere") / "env"
    venv.create(folder, symlinks=True, with_pip=False)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def test_everything_is_inside(wheel, root):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"i2v_lab/weights/motiondit.safetensors", "i2v_lab/weights/motiondit.json", "i2v_lab/py.typed"} <= names
    modules = {str(path.relative_to(root)) for path in (root / "i2v_lab").rglob("*.py")}
    assert modules <= names
    assert not [name for name in names if name.startswith(("nbs/", "tests/", "data/"))]
    weights = zipfile.ZipFile(wheel).getinfo("i2v_lab/weights/motiondit.safetensors")
    assert weights.file_size <= 80_000_000


def test_a_clip_without_a_checkout(elsewhere, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    Image.effect_noise((128, 96), 80).convert("RGB").save(tmp_path / "picture.png")
    options = {"cwd": tmp_path, "env": OUTSIDE | {"HOME": str(home), "HF_HUB_OFFLINE": "1"}}
    where = run(elsewhere / "bin" / "python", "-c", "import i2v_lab; print(i2v_lab.__file__)", **options)
    assert str(elsewhere) in where, "this is not the installed package"
    words = ["generate", "picture.png", "zoom in", "-o", "clip.mp4", "--steps", "2", "--frames", "3", "--json"]
    report = json.loads(run(elsewhere / "bin" / "i2v-lab", *words, **options).splitlines()[-1])
    assert (report["frames"], report["width"], report["height"]) == (3, 128, 96)
    assert (tmp_path / "clip.mp4").stat().st_size > 500
    done = subprocess.run(
        [elsewhere / "bin" / "i2v-lab", "demo"], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 2 and "run it in a checkout" in done.stderr
