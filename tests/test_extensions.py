"""Extensions as their users meet them: switched on the shipped model, named on the command line, brought by packages."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import i2v_lab as lab
from i2v_lab.cli import main

FEW = {"num_inference_steps": 3, "num_frames": 4}
ARTICLE = """
enabled_extensions:
  - action_prior
  - adaptive_patch
action_prior:
  num_actions: 8
  threshold: 0.7
adaptive_patch:
  base_size: 16
  max_patches: 256
"""


def ask(*words):
    """Run a command in this process."""
    return CliRunner().invoke(main, [str(word) for word in words], prog_name="i2v-lab")


@pytest.fixture
def loaded(pipe, monkeypatch):
    """Commands take the loaded model and do not load it again."""
    monkeypatch.setattr("i2v_lab.pipeline.backends.load_pipeline", lambda *a, **kw: pipe)


def test_the_articles_yaml_loads_unchanged():
    mix = lab.Mix.from_yaml(ARTICLE)
    assert mix.to_dict()["adaptive_patch"] == {"base_size": 16, "max_patches": 256}
    assert {"num_actions": 8, "threshold": 0.7}.items() <= mix.to_dict()["action_prior"].items()
    assert lab.Mix.from_yaml(mix.to_yaml()) == mix


def test_a_mix_for_one_clip_leaves_the_pipeline_as_it_was(pipe, photo):
    before = dict(vars(pipe))
    plain = pipe.generate(photo, "make it move", **FEW)
    mixed = pipe.generate(photo, "make it move", mix=["kv_cache", "adaptive_patch"], **FEW)
    assert mixed.settings["mix"] == pipe.rerun(mixed.settings).settings["mix"]
    assert set(mixed.settings["mix"]) == {"kv_cache", "adaptive_patch"}
    assert {k: v for k, v in vars(pipe).items() if k != "_lock"} == {k: v for k, v in before.items() if k != "_lock"}
    assert np.array_equal(pipe.generate(photo, "make it move", **FEW).frames, plain.frames)


def test_switching_reloads_nothing(pipe):
    """The same networks, before, under and after each extension; how long it takes is for the benchmarks."""
    model, text, memory = pipe.model, pipe.text, {k: v.data_ptr() for k, v in pipe.model.state_dict().items()}
    for name in lab.extension_names():
        with pipe.using([name]):
            assert pipe.model is model and pipe.text is text
            assert {k: v.data_ptr() for k, v in pipe.model.state_dict().items()} == memory


def test_a_mix_on_the_command_line(loaded, photo, tmp_path):
    file = tmp_path / "mix.yaml"
    file.write_text(ARTICLE)
    for extra in (["--mix", "kv_cache"], ["--config", file]):
        words = ["generate", photo, "zoom in", "-o", tmp_path / "a.gif", "--steps", 2, "--frames", 3, *extra, "--json"]
        done = ask(*words)
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout.splitlines()[-1])["mix"] == (
            ["kv_cache"] if "--mix" in extra else ["action_prior", "adaptive_patch"]
        )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--mix", "kv_cahce"], "did you mean 'kv_cache'"),
        (["--mix", "kv_cache", "--config", "x.yaml"], "not both"),
        (["--config", "no_such.yaml"], "no_such.yaml"),
    ],
)
def test_a_wrong_mix_is_answered_before_the_model_is_loaded(words, says, photo, tmp_path, monkeypatch):
    def load(*_, **__):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("i2v_lab.pipeline.backends.load_pipeline", load)
    done = ask("generate", photo, "zoom in", "-o", tmp_path / "a.gif", *words)
    assert done.exit_code == 2 and says in done.output and "Traceback" not in done.output


GOOD = """
from i2v_lab.extensions import Extension


class Good(Extension):
    "Does nothing, well."

    name = "good"
"""
PACKAGES = {  # module, its code, what it offers
    "third_good": (GOOD, "good = third_good:Good"),
    "third_broken": ("import no_such_module_at_all", "broken = third_broken:X"),
    "third_exits": ("import os\nos._exit(7)", "exits = third_exits:X"),
    "third_other": ("class X: pass", "other = third_other:X"),
    "third_registers": (
        GOOD.replace('"good"', '"registers"') + "\n\nimport i2v_lab\n\ni2v_lab.register(Good)\n",
        "registers = third_registers:Good",
    ),
    "third_twin": (GOOD.replace('"good"', '"twin"'), "twin = third_twin:Good"),
    "third_other_twin": (GOOD.replace('"good"', '"twin"'), "twin = third_other_twin:Good"),
    "third_takes": (GOOD.replace('"good"', '"kv_cache"'), "kv_cache = third_takes:Good"),
}


@pytest.fixture
def third_parties(tmp_path):
    """A folder of installed packages, and the environment that has them."""
    for name, (code, entry) in PACKAGES.items():
        (tmp_path / f"{name}.py").write_text(code)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[i2v_lab.extensions]\n{entry}\n")
    return os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}


def in_python(code, env):
    """What a program says that has these packages."""
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, cwd=env["PYTHONPATH"])
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_broken_packages_are_listed_and_harm_nobody(third_parties, tmp_path):
    command = [sys.executable, "-m", "i2v_lab.cli", "extensions", "list", "--json"]
    done = subprocess.run(command, env=third_parties, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1, done.stderr  # something is broken: a script can tell
    rows = json.loads(done.stdout.splitlines()[-1])
    assert all(row.keys() == {"name", "origin", "status", "reason"} for row in rows)
    found = {(row["name"], row["origin"]): row for row in rows}
    assert found["good", "third_good 1.0"]["status"] == found["registers", "third_registers 1.0"]["status"] == "ok"
    assert "no_such_module_at_all" in found["broken", "third_broken 1.0"]["reason"]
    assert "code 7" in found["exits", "third_exits 1.0"]["reason"]
    assert "subclass of Extension" in found["other", "third_other 1.0"]["reason"]
    twins = [row for row in rows if row["name"] == "twin"]
    assert {row["origin"] for row in twins} == {"third_twin 1.0", "third_other_twin 1.0"}
    assert {row["status"] for row in twins} == {"conflict"} and "uninstall one of them" in twins[0]["reason"]
    assert found["adaptive_patch", "built-in"]["status"] == found["kv_cache", "built-in"]["status"] == "ok"
    assert found["kv_cache", "third_takes 1.0"]["status"] == "conflict"
    assert "uninstall third_takes 1.0" in found["kv_cache", "third_takes 1.0"]["reason"]


def test_a_run_imports_only_what_its_mix_names(third_parties):
    code = (
        "import sys, i2v_lab as lab\n"
        "lab.Mix(['good'])\n"
        "loaded = {m for m in sys.modules if m.startswith('third_') or m.startswith('i2v_lab.extensions.')}\n"
        "assert loaded == {'third_good'}, loaded"
    )
    in_python(code, third_parties)


def test_the_panel_marks_what_is_broken_and_imports_none_of_it(third_parties):
    code = (
        "import sys\n"
        "from i2v_lab.views.extension_manager import ExtensionManager\n"
        "ExtensionManager.try_in_background = lambda self: None\n"  # at once, instead
        "manager = ExtensionManager()\n"
        "manager.try_others()\n"
        "assert not [m for m in sys.modules if m.startswith('third_')]\n"
        "import json\n"
        "print(json.dumps({n: [r.badge.value, r.problem.value] for n, r in manager.rows.items()}))\n"
        "manager.rows['good'].box.value = True\n"
        "assert set(manager.value) == {'good'}, manager.value\n"
    )
    rows = json.loads(in_python(code, third_parties))
    for name, reason in {
        "broken": "no_such_module_at_all",
        "exits": "code 7",
        "other": "no subclass of Extension",
        "twin": "third_other_twin 1.0",
    }.items():
        badge, problem = rows[name]
        state = "conflict" if name == "twin" else "broken"
        assert badge.startswith(f"<b>{state}</b>") and reason in problem, (name, badge, problem)
    assert rows["good"] == ["third_good 1.0", ""]
    assert rows["adaptive_patch"] == rows["kv_cache"] == ["built-in", ""]  # whoever else claims its name


def test_the_notebook_of_an_installed_package_may_register_its_class(third_parties):
    """A class of the same name for the same extension; nobody else's, and not a built-in one's."""
    code = (
        "import i2v_lab as lab\n"
        "for name, cls in (('good', 'Good'), ('good', 'Other'), ('adaptive_patch', 'AdaptivePatch')):\n"
        "    try:\n"
        "        made = type(cls, (lab.Extension,), dict(name=name, __module__='__main__'))\n"
        "        print(lab.register(made) is made)\n"
        "        from i2v_lab.pipeline.registry import unregister\n"
        "        unregister(name)\n"
        "    except lab.InputError as error:\n"
        "        print('taken' if 'is taken' in str(error) else error)\n"
    )
    assert in_python(code, third_parties).split() == ["True", "taken", "taken"]
