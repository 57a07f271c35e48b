"""The command as its users and other programs meet it: exit codes, one-line errors, the last line of JSON, Ctrl-C."""

import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from functools import partial

import pytest
from click.testing import CliRunner
from PIL import Image

import i2v_lab as lab
from i2v_lab.cli import main

GENERATE_KEYS = {"clip", "frames", "width", "height", "seconds", "mix", "action", "decided_by", "judged"}
COMMAND = [sys.executable, "-m", "i2v_lab.cli"]


def ask(*words):
    """Run a command in this process."""
    return CliRunner().invoke(main, [str(word) for word in words], prog_name="i2v-lab")


def read_screen(screen):
    """What a terminal shows next; nothing where nobody writes to it any more."""
    try:
        return os.read(screen, 4096)
    except OSError:  # Linux: EIO, once the last process has closed it
        return b""


@pytest.fixture
def picture(tmp_path):
    """Somebody's picture."""
    path = tmp_path / "picture.png"
    Image.effect_noise((128, 96), 80).convert("RGB").save(path)
    return path


@pytest.fixture
def loaded(pipe, monkeypatch):
    """Commands take the loaded model and do not load it again."""
    monkeypatch.setattr("i2v_lab.pipeline.backends.load_pipeline", lambda *a, **kw: pipe)


@pytest.fixture
def too_early(monkeypatch):
    """Loading the model is an error."""

    def load(*_, **__):
        raise AssertionError("the model was loaded before the input was checked")

    monkeypatch.setattr("i2v_lab.pipeline.backends.load_pipeline", load)


def test_generate_in_a_process_of_its_own(shipped_weights, picture, tmp_path):
    out = tmp_path / "new" / "clip.mp4"
    words = ["generate", picture, "zoom in", "-o", out, "--steps", "4", "--frames", "5", "--seed", "7", "--json"]
    done = subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert GENERATE_KEYS <= report.keys()
    assert (report["clip"], report["frames"], report["width"], report["height"]) == (str(out), 5, 128, 96)
    assert (report["mix"], report["decided_by"]) == ([], "prompt")
    assert report["action"] in set(lab.Action) and report["judged"] in {*lab.Action, "uncertain"}
    assert 0 < report["seconds"] < 60
    assert not done.stderr, "a bar where there is no terminal, or a warning"
    clip = lab.Clip.load(out)
    assert (len(clip), clip.settings["seed"], clip.settings["prompt"]) == (5, 7, "zoom in")
    assert sorted(path.name for path in out.parent.iterdir()) == ["clip.mp4", "clip.mp4.json"]


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".png"])
def test_the_user_overrules_the_prompt(loaded, picture, tmp_path, suffix):
    out = tmp_path / f"clip{suffix}"
    words = ["generate", picture, "zoom in", "-o", out, "--action", "Pan-Left", "--steps", 2, "--frames", 3, "--json"]
    done = ask(*words)
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["action"], report["decided_by"]) == ("pan_left", "user")
    assert len(done.stdout.splitlines()) == 2
    assert "you decided on pan_left" in done.stdout.splitlines()[0]
    assert out.is_file() and not [path for path in tmp_path.iterdir() if ".tmp" in path.name]


def test_the_settings_file_is_followed(loaded, pipe, picture, tmp_path, monkeypatch):
    (tmp_path / "settings.ini").write_text("[i2v_lab]\nstep = 3\n")
    monkeypatch.setenv("I2V_LAB_SETTINGS", str(tmp_path / "settings.ini"))
    done = ask("generate", picture, "zoom in", "-o", tmp_path / "clip.mp4")
    assert done.exit_code == 2
    assert "did you mean 'steps'" in done.stderr


WRONG = {
    "empty prompt": (["generate", "PICTURE", " ", "-o", "OUT.mp4"], "the prompt is empty"),
    "folder that takes no files": (["generate", "PICTURE", "x", "-o", "/proc/o.mp4"], "cannot write into '/"),
    "unknown command": (["genrate"], "did you mean 'generate'?"),
    "unknown option": (["generate", "PICTURE", "x", "-o", "OUT.mp4", "--stpes", "3"], "did you mean '--steps'?"),
    "no target": (["generate", "PICTURE", "x"], "'--out'"),
    "no prompt": (["generate", "PICTURE"], "'PROMPT'"),
    "unknown action": (
        ["generate", "PICTURE", "x", "-o", "OUT.mp4", "--action", "pan_lefft"],
        "did you mean 'pan_left'?",
    ),
    "steps": (["generate", "PICTURE", "x", "-o", "OUT.mp4", "--steps", "0"], "from 1 to 200, got '0'"),
    "frames": (["generate", "PICTURE", "x", "-o", "OUT.mp4", "--frames", "many"], "from 2 to 128, got 'many'"),
    "fps": (["generate", "PICTURE", "x", "-o", "OUT.mp4", "--fps", "nan"], "got 'nan'"),
    "seed": (["generate", "PICTURE", "x", "-o", "OUT.mp4", "--seed", "-1"], "got '-1'"),
    "suffix": (["generate", "PICTURE", "x", "-o", "OUT.avi"], ".mp4, .gif, .png"),
    "gif too fast": (["generate", "PICTURE", "x", "-o", "OUT.gif", "--fps", "60"], "save an .mp4 instead"),
    "missing picture": (["generate", "PICTUR", "x", "-o", "OUT.mp4"], "there is no file"),
    "no picture": (["generate", "TEXT", "x", "-o", "OUT.mp4"], "is not a picture"),
    "over the picture": (["generate", "PICTURE", "x", "-o", "PICTURE"], "is the picture itself"),
    "into a file": (["generate", "PICTURE", "x", "-o", "PICTURE/clip.mp4"], "choose another folder"),
    "no weights": (["generate", "PICTURE", "x", "-o", "OUT.mp4", "--weights", "no.safetensors"], "no weights"),
    "weights to pickle": (["train", "--minutes", "1", "--out", "weights.pt"], ".safetensors"),
    "no minutes at all": (["train", "--minutes", "0", "--out", "weights.safetensors"], "'--minutes'"),
    "no process": (["train", "--processes", "0", "--out", "weights.safetensors"], "'--processes'"),
    "unknown package": (["data", "fetch", "--dest", "OUT", "--only", "arcad"], "did you mean 'arcade'?"),
    "unknown sub-command": (["data", "fecth"], "did you mean 'fetch'?"),
}


@pytest.mark.parametrize(("words", "hint"), WRONG.values(), ids=WRONG)
def test_wrong_input_is_one_line(too_early, picture, tmp_path, words, hint):
    (tmp_path / "text.jpg").write_text("hello")
    names = {
        "PICTURE": str(picture),
        "PICTUR": str(picture)[:-4],
        "TEXT": str(tmp_path / "text.jpg"),
        "OUT": str(tmp_path / "o"),
    }
    given = []
    for word in words:
        key = next((key for key in sorted(names, key=len, reverse=True) if word.startswith(key)), None)
        given.append(word.replace(key, names[key], 1) if key else word)
    done = ask(*given)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert hint in done.stderr


def test_no_traceback_in_a_process_of_its_own(tmp_path):
    done = subprocess.run(
        [*COMMAND, "generate", "nowhere.jpg", "x", "-o", "a.mp4"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "nowhere.jpg" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_failed_run_is_one_line(picture, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr("i2v_lab.pipeline.backends.load_pipeline", fail)
    monkeypatch.delenv("I2V_LAB_TRACEBACK", raising=False)
    done = ask("generate", picture, "x", "-o", tmp_path / "clip.mp4")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "error: RuntimeError: out of memory (I2V_LAB_TRACEBACK=1 shows where)\n"
    monkeypatch.setenv("I2V_LAB_TRACEBACK", "1")
    assert "Traceback" in ask("generate", picture, "x", "-o", tmp_path / "clip.mp4").stderr


def test_a_registry_that_fails_is_exit_code_1(tmp_path, monkeypatch):
    from i2v_lab.training import sources

    def refuse(*_):
        raise sources.FetchError("cannot download arcade")

    monkeypatch.setattr(sources, "download_package", refuse)
    done = ask("data", "fetch", "--dest", tmp_path / "fetched", "--only", "arcade")
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (1, "error: cannot download arcade")


def test_ctrl_c_leaves_no_file(shipped_weights, picture, tmp_path):
    out = tmp_path / "new" / "clip.mp4"
    words = ["generate", picture, "zoom in", "-o", out, "--steps", "200", "--frames", "64"]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs are deaf to Ctrl-C
    screen, terminal = pty.openpty()  # a bar is drawn on a terminal only
    termios.tcsetwinsize(terminal, (24, 80))
    process = subprocess.Popen(
        [*COMMAND, *map(str, words)], stderr=terminal, stdout=subprocess.PIPE, bufsize=0, preexec_fn=heard
    )
    os.close(terminal)
    shown, start = b"", time.monotonic()
    while b" 2/200" not in shown:
        assert time.monotonic() - start < 120 and process.poll() is None, shown
        shown += read_screen(screen)
    process.send_signal(signal.SIGINT)
    shown += b"".join(iter(partial(read_screen, screen), b""))
    assert process.communicate(timeout=60)[0] == b""
    assert process.returncode == 130
    assert shown.splitlines()[-1] == b"stopped" and b"Traceback" not in shown
    assert sorted(tmp_path.rglob("*")) == [picture]


def test_doctor(shipped_weights, root, monkeypatch, tmp_path):
    monkeypatch.chdir(root)
    done = ask("doctor", "--json")
    report = json.loads(done.stdout.splitlines()[-1])
    checks = {check["name"]: check for check in report["checks"]}
    assert (done.exit_code, report["ok"]) == (0, True), done.stdout
    assert {"settings", "device", "weights", "text encoder", "photos", "training data"} <= checks.keys()
    assert str(root / "settings.ini") in checks["settings"]["value"]
    assert {"torch", "timm", "diffusers"} <= report["versions"].keys()
    monkeypatch.setattr("i2v_lab.model.shipped.WEIGHTS", tmp_path / "motiondit.safetensors")
    done = ask("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout.splitlines()[-1])["checks"]}
    assert done.exit_code == 1
    assert not checks["weights"]["ok"] and checks["weights"]["fix"]


def test_train_says_what_is_missing(root, tmp_path, monkeypatch):
    """In a checkout without the fetched data, the fix is named before anything is made."""
    (tmp_path / "data").mkdir()
    for name in ("split.csv", "subjects"):
        (tmp_path / "data" / name).symlink_to(root / "data" / name)
    monkeypatch.chdir(tmp_path)
    done = ask("train", "--minutes", 1, "--out", "mine.safetensors")
    assert done.exit_code == 2
    assert "i2v-lab data fetch" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "mine.safetensors").exists()


def test_lab_brings_a_panel_where_there_is_no_checkout(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr("os.execv", lambda program, words: started.extend(words))
    monkeypatch.chdir(tmp_path)
    done = ask("lab", "--no-browser")
    assert done.exit_code == 0, done.stderr
    assert "lab.ipynb" in started and "lab.Lab()" in (tmp_path / "lab.ipynb").read_text()


def test_lab_names_the_fix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'i2v_lab[lab]'" in ask("lab").stderr


def test_lab_opens_the_notebook(root, monkeypatch):
    started = []
    monkeypatch.setattr("os.execv", lambda program, words: started.extend(words))
    monkeypatch.chdir(root / "tests")
    done = ask("lab", "--", "--no-browser")
    assert done.exit_code == 0, done.stderr
    assert started[1:4] == ["-m", "jupyterlab", str(root / "nbs" / "lab.ipynb")]
    assert started[-1] == "--no-browser"
