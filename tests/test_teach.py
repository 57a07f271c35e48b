"""Teaching an action, the whole way: a lesson of a few steps, its file, the extension in it, and what is refused."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch

import i2v_lab as lab
from i2v_lab.training import teach as teaching
from i2v_lab.training.teach import Class, Frames, Lesson, photo_files, read_frames, teach_motion, tilt_up
from i2v_lab.views.teach import with_bar

ROOT = Path(__file__).resolve().parents[1]
WORDS = [
    *("tilt up", "look up", "the camera tilts upwards", "raise the view", "point the camera higher"),
    *("an upward tilt", "look at the sky", "turn the camera to the sky"),
]
BRIEF = dict(steps=3, batch=2, frames=4, texts=24)
SWITCHED = ("leaves_the_pipeline_as_it_was", "leaves_the_frames_as_they_were", "leaves_random_numbers_alone")
ASK = dict(seed=1, num_inference_steps=3, num_frames=4)


@pytest.fixture(scope="module")
def pipe():
    torch.set_num_threads(1)
    return lab.load_pipeline()


@pytest.fixture(scope="module")
def photos():
    return photo_files()[:12]


@pytest.fixture(scope="module")
def taught(pipe, photos):
    return lab.teach("tilt_up", motion=tilt_up, wordings=WORDS, photos=photos, pipe=pipe, live=False, **BRIEF)


@pytest.fixture(scope="module")
def picture(photos):
    return lab.load_picture(photos[0])[::4, ::4]


def test_the_seed_decides(taught, pipe, photos):
    again = teach_motion("tilt_up", tilt_up, WORDS, photos=photos, pipe=pipe, lesson=Lesson(**BRIEF))
    assert again.losses == taught.losses and len(again.losses) == 3
    other = teach_motion("tilt_up", tilt_up, WORDS, photos=photos, pipe=pipe, lesson=Lesson(**BRIEF | dict(seed=1)))
    assert other.losses != taught.losses


def test_the_loss_falls(pipe, photos):
    one = Class(pipe, read_frames(pipe, photos, 4), tilt_up, Lesson(batch=2, lr=1e-2))
    losses = [one.step(0, 0.1) for _ in range(12)]  # the same clips again and again
    assert losses[-1] < 0.8 * losses[0]


def test_checkpointing_gives_the_same_gradients(pipe, photos):
    frames, found = read_frames(pipe, photos, 4), []
    for on in (False, True):
        one = Class(pipe, frames, tilt_up, Lesson(batch=2, gradient_checkpointing=on))
        assert one.decoder.gradient_checkpointing is on
        one.loss(0).backward()
        found.append([p.grad for p in one.parameters if p.grad is not None])
    assert len(found[0]) > 10
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert not pipe.model.decoder.gradient_checkpointing


def test_the_pipeline_is_left_as_it_was(taught, pipe, picture):
    weights = {k: v.clone() for k, v in pipe.model.state_dict().items()}
    before = pipe.generate(picture, "tilt up", **ASK)
    acting = pipe.generate(picture, "tilt up", mix=[taught.extension(always=True)], **ASK)
    assert (acting.frames != before.frames).any() and acting.settings["decided_by"] == "tilt_up"
    assert (pipe.generate(picture, "tilt up", **ASK).frames == before.frames).all()
    assert all(torch.equal(v, weights[k]) for k, v in pipe.model.state_dict().items())
    assert not any(m._forward_hooks for m in pipe.model.modules())


@pytest.mark.parametrize("prompt", ["zoom in", "the person walks to the left", "make it move"])
def test_other_prompts_are_left_alone_to_the_bit(taught, pipe, picture, prompt):
    clip = pipe.generate(picture, prompt, mix=[taught.extension], **ASK)
    assert clip.settings["extensions"]["tilt_up"]["acts"] is False
    assert (clip.frames == pipe.generate(picture, prompt, **ASK).frames).all()


def test_the_user_overrules(taught, pipe, picture):
    for asked in (dict(action="pan_left"), dict(mix=[taught.extension(strength=0.0, always=True)])):
        clip = pipe.generate(picture, "tilt up", **dict(mix=[taught.extension(always=True)]) | asked, **ASK)
        assert clip.settings["extensions"]["tilt_up"]["acts"] is False


def test_the_file_comes_back(taught, tmp_path):
    path = taught.save(tmp_path / "tilt_up.safetensors")
    assert path.stat().st_size < 1_000_000
    cls = lab.load_taught(path)
    assert cls is taught.extension and pickle.loads(pickle.dumps(cls)) is cls
    assert cls.about["wordings"][0] == "tilt up" and cls.about["heldout"] == WORDS[3::4]
    for damaged in (b"", taught.blob[:100], taught.blob[:-1] + bytes([taught.blob[-1] ^ 1])):
        path.write_bytes(damaged)
        with pytest.raises(lab.InputError, match="damaged"):
            lab.load_taught(path)
    with pytest.raises(lab.InputError, match="no taught action"):
        lab.load_taught(tmp_path / "none.safetensors")


def test_what_was_measured_is_saved(taught, tmp_path):
    measured = lab.Taught(taught.blob, taught.losses, dict(taught=dict(share=0.5, n=2)))
    back = lab.Taught.load(measured.save(tmp_path / "tilt_up.safetensors"))
    assert back.figures == measured.figures == dict(taught=dict(share=0.5, n=2))
    for file in (ROOT / "data" / "taught").glob("*.safetensors"):  # nothing measured since: the same bytes
        assert lab.Taught.load(file).save(tmp_path / file.name).read_bytes() == file.read_bytes()


def test_what_is_held_out_is_not_learned(monkeypatch, pipe, photos):
    class Caught(Exception):
        pass

    def caught(text, wordings, unlike, **more):
        raise Caught(wordings)

    monkeypatch.setattr(teaching, "learn_words", caught)
    with pytest.raises(Caught) as learned:
        teach_motion("tilt_up", tilt_up, WORDS, heldout=[" look   up ", "tilt up"], photos=photos, pipe=pipe)
    assert learned.value.args[0] == WORDS[2:]  # and not the name either, "tilt up"


def with_certainty(taught, name, sure):
    "The same taught action by another name, always as sure of the words."
    tensors, about = teaching.unpacked(taught.blob)
    tensors["words.answer.weight"] *= 0
    tensors["words.answer.bias"] = torch.full((1,), sure).logit()
    return teaching.extension_of(teaching.packed(tensors, about | dict(name=name)))


@pytest.mark.parametrize(
    ("options", "acts"), [({}, "surer"), (dict(strength=0.0), "sure"), (dict(threshold=0.95), "sure")]
)
def test_of_two_that_are_asked_for_the_surer_acts_if_it_acts_at_all(taught, pipe, picture, options, acts):
    sure, surer = with_certainty(taught, "sure", 0.7), with_certainty(taught, "surer", 0.9)
    for mix in ([sure, surer(**options)], [surer(**options), sure]):
        said = pipe.generate(picture, "tilt up", mix=mix, **ASK).settings["extensions"]
        assert [name for name in said if said[name]["acts"]] == [acts], said


def test_a_step_is_taken_on_the_device_of_the_pipeline(pipe):
    "Everything is in its place on a GPU; checked without one, by tensors that have a device and no numbers."
    from torch._subclasses.fake_tensor import FakeTensorMode

    class Sizes:
        __getitem__ = lambda self, rows: self
        tolist = lambda self: [[256, 256]] * 2

    class OnGPU:
        device, precision = torch.device("cuda"), lambda self: torch.autocast("cpu", enabled=False)

    model, one = deepcopy(pipe.model), Class.__new__(Class)
    with FakeTensorMode(allow_non_fake_inputs=True):
        for module in model.modules():
            for name, p in module.named_parameters(recurse=False):
                module._parameters[name] = torch.nn.Parameter(torch.empty(p.shape, device="cuda"), False)
            for name, b in module.named_buffers(recurse=False):
                module._buffers[name] = torch.empty(b.shape, dtype=b.dtype, device="cuda")
        one.pipe, one.motion, one.lesson, one.decoder = OnGPU(), tilt_up, Lesson(batch=2), model.decoder
        one.pipe.model, one.added = model, lambda cond, pace: cond  # peft's copy of the decoder cannot be made here
        one.frames = Frames(torch.empty(4, 256, 1152, dtype=torch.half, device="cuda"), Sizes())
        assert one.loss(0).device.type == "cuda"


def test_a_package_of_one_line_is_a_plug_in(taught, tmp_path):
    package = tmp_path / "tilts"
    package.mkdir()
    taught.save(package / "tilt_up.safetensors")
    (package / "__init__.py").write_text(
        "from pathlib import Path\nfrom i2v_lab.training.teach import load_taught\n"
        'TiltUp = load_taught(Path(__file__).parent / "tilt_up.safetensors")\n'
    )
    about = tmp_path / "tilts-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tilts\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[i2v_lab.extensions]\ntilt_up = tilts:TiltUp\n")
    code = f"""
import json, sys
sys.path.insert(0, {str(tmp_path)!r})
from i2v_lab.pipeline.registry import find_extension, place_of
print(json.dumps([place_of("tilt_up"), find_extension("tilt_up").about["name"], "peft" in sys.modules]))
"""
    run = dict(capture_output=True, text=True, cwd=ROOT, check=True)
    path = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | path, **run)
    assert json.loads(done.stdout.splitlines()[-1]) == ["tilts 1.0", "tilt_up", False]  # and needs no peft


def test_the_suite_for_extensions(taught, pipe):
    report = lab.check_extension(taught.extension, pipe, only=["declarations", "construction", "options", *SWITCHED])
    assert report.passed, report


def test_other_weights_and_other_backends_are_refused(taught, pipe):
    from i2v_lab.extensions.reference import reference_pipeline

    with pytest.raises(lab.InputError, match="was taught to the shipped model"):
        reference_pipeline().use([taught.extension])
    own = pipe.weights_sha256
    try:
        pipe.weights_sha256 = "0" * 64
        with pytest.raises(lab.InputError, match="belongs to the weights"):
            pipe.use([taught.extension])
    finally:
        pipe.weights_sha256 = own


def test_stop_keeps_what_was_learned(pipe, photos):
    stop = threading.Event()
    hear = lambda line: stop.set() if line.get("step") == 2 else None
    given = dict(photos=photos, pipe=pipe, lesson=Lesson(**BRIEF | dict(steps=1000)))
    stopped = teach_motion("tilt_up", tilt_up, WORDS, listener=hear, stop=stop, **given)
    assert stopped.about["steps"] == 2 and np.isfinite(stopped.about["loss"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (dict(name="zoom_in"), "one of the eight"),
        (dict(name="kv_cache"), "taken"),
        (dict(name="Tilt up"), "snake_case"),
        (dict(name="lambda"), "word of Python"),
        (dict(name="none"), "word of Python"),
        (dict(wordings=["tilt up"]), "too few"),
        (dict(wordings="tilt up"), "wordings must be a list of texts"),
        (dict(heldout="raise it"), "heldout must be a list of texts"),
        (dict(unlike="tilt down"), "unlike must be a list of texts"),
        (dict(unlike=["tilt down", " "]), "unlike must be a list of texts"),
        (dict(heldout=[]), "give some of both"),
        (dict(heldout=WORDS), "give some of both"),
        (dict(motion=lambda t, rng: t), r"\[T,4\]"),
        (dict(motion=lambda t, rng: np.zeros((len(t), 4))), "moves nothing"),
        (dict(motion=None), "either motion"),
        (dict(motion=None, clips=["missing.mp4"]), "no file"),
        (dict(motion=None, clips=[lab.Clip(np.full((8, 64, 64, 3), 90, np.uint8), 8.0, {})]), "no motion"),
        (dict(photos="no/folder"), "no folder"),
        (dict(minutes=0), "above 0"),
        (dict(moves="sky"), "moves"),
        (dict(colour=3), "colour"),
    ],
)
def test_wrong_input_is_one_sentence(pipe, given, said):
    usual = dict(name="tilt_up", motion=tilt_up, wordings=WORDS, pipe=pipe, live=False)
    asked = usual | given
    with pytest.raises(lab.InputError, match=said) as problem:
        lab.teach(asked.pop("name"), **asked)
    assert "\n" not in str(problem.value)


def test_the_shipped_files_are_of_the_shipped_weights_and_were_measured(pipe):
    files = sorted((ROOT / "data" / "taught").glob("*.safetensors"))
    assert [f.stem for f in files] == ["handheld", "tilt_up"]
    for file in files:
        about = lab.load_taught(file).about
        assert about["weights_sha256"] == pipe.weights_sha256 and about["seconds"] <= 15 * 60
        figures = about["figures"]
        assert figures["taught"]["share"] >= 0.85 and figures["taught"]["n"] >= 48
        assert figures["eight_after"]["share"] >= figures["eight_before"]["share"] - 0.02


def test_ctrl_c_is_stop():
    """In a script it ends the lesson, and what was learned comes back."""

    def work(hear, stop):
        while not stop.is_set():
            time.sleep(0.01)
        return "kept"

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        assert with_bar(work, "nod", None) == "kept"
    finally:
        signal.signal(signal.SIGINT, before)
