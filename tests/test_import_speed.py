"""`import i2v_lab` and the command's help stay instant, because nothing heavy is imported before it is used."""

import json
import subprocess
import sys

import pytest

HEAVY = {
    "torch",
    "torchvision",
    "timm",
    "diffusers",
    "transformers",
    "cv2",
    "av",
    "matplotlib",
    "scipy",
    "pandas",
    "IPython",
}


def modules_after(code: str) -> set[str]:
    """The top-level modules that are loaded in a fresh process after some code."""
    ask = f"import sys, json; {code}; print(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("module", ["i2v_lab", "i2v_lab.cli", "i2v_lab.core.actions", "i2v_lab.core.settings"])
def test_imports_nothing_heavy(module):
    assert not modules_after(f"import {module}") & HEAVY


def test_core_works_without_heavy_libraries():
    code = "import i2v_lab as lab; lab.load_picture; lab.Clip; lab.Action; lab.InputError; dir(lab)"
    assert not modules_after(code) & HEAVY


def test_the_check_sees_a_heavy_import():
    assert "torch" in modules_after("import i2v_lab as lab; lab.load_pipeline")


def test_names_of_the_house():
    import i2v_lab as lab

    names = {"Action", "Clip", "InputError", "Stopped", "judge", "load_picture", "load_pipeline"}
    assert names <= set(dir(lab))
    for name in names:
        assert getattr(lab, name).__name__ == name
    with pytest.raises(AttributeError):
        lab.load_pipline  # noqa: B018
