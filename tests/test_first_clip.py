"""A picture goes in, a clip comes out: what must be true of every clip of the shipped model."""

import hashlib
import json
import shutil
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

import i2v_lab as lab

FEW = {"num_inference_steps": 2, "num_frames": 4}


def digest(frames: np.ndarray) -> str:
    """Name frames by what is in them."""
    return hashlib.sha256(repr(frames.shape).encode() + frames.tobytes()).hexdigest()


@pytest.mark.parametrize(("width", "height"), [(320, 240), (720, 1280), (1024, 1024), (321, 243)])
@pytest.mark.parametrize("action", ["zoom_out", "walk"])
def test_frame_0_is_the_picture(pipe, crop, width, height, action):
    picture = crop(width, height)
    clip = pipe.generate(picture, "now", action=action, num_inference_steps=4, num_frames=12)  # a walk takes its time
    assert clip.frames.shape == (12, height, width, 3)
    assert np.array_equal(clip.frames[0], picture)
    assert not np.array_equal(clip.frames[-1], picture), "nothing moves"


def test_a_seed_means_one_clip(pipe, photo):
    asked = {"action": "pan_right", "num_inference_steps": 3, "num_frames": 4}
    here = pipe.generate(photo, "to the right", seed=5, **asked)
    again = pipe.generate(photo, "to the right", seed=5, **asked)
    other = pipe.generate(photo, "to the right", seed=6, **asked)
    assert digest(here.frames) == digest(again.frames)
    assert digest(here.frames) != digest(other.frames)


def test_the_same_frames_in_another_process(pipe, photo, tmp_path):
    """Settings travel inside the file; another process makes the same frames from them."""
    here = pipe.generate(photo, "the camera moves in", seed=3, num_inference_steps=3, num_frames=6, fps=6)
    path = here.save(tmp_path / "clip.mp4")
    (tmp_path / "clip.mp4.json").unlink()
    code = (
        "import hashlib, sys, i2v_lab as lab\n"
        "clip = lab.load_pipeline('motiondit', device='cpu').rerun(lab.Clip.load(sys.argv[1]).settings)\n"
        "print(hashlib.sha256(repr(clip.frames.shape).encode() + clip.frames.tobytes()).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert there.stdout.split()[-1] == digest(here.frames)


def test_settings_travel(pipe, photo, tmp_path):
    clip = pipe.generate(photo, "the dog runs off", action="pan_left", seed=9, fps=12, cfg_scale=3.0, **FEW)
    for name in ("clip.mp4", "clip.gif"):
        back = lab.Clip.load(clip.save(tmp_path / name))
        assert back.settings == clip.settings
        assert (len(back), back.width, back.height, back.fps) == (len(clip), clip.width, clip.height, clip.fps)
    beside = json.loads((tmp_path / "clip.mp4.json").read_text())
    assert beside == clip.settings
    assert (beside["action"], beside["decided_by"], beside["seed"], beside["cfg_scale"]) == ("pan_left", "user", 9, 3.0)
    assert beside["weights_sha256"] == pipe.weights_sha256
    assert digest(pipe.rerun(back.settings).frames) == digest(clip.frames)
    with pytest.raises(lab.InputError, match="not the picture"):
        pipe.rerun(back.settings, image=clip.frames[0, ::2])


def sharpness(frame: np.ndarray) -> float:
    """Energy of the finest detail."""
    return float(cv2.Laplacian(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())


@pytest.mark.parametrize("action", ["pan_left", "pan_right", "zoom_in"])
def test_frames_are_as_sharp_as_the_picture(pipe, crop, action):
    """The middle of every frame shows parts of the picture; resampling may cost a little, never most of it."""
    picture = crop(768, 512)
    clip = pipe.generate(picture, "go", action=action, num_inference_steps=8, num_frames=8)
    middle = np.s_[128:384, 192:576]
    small = cv2.resize(picture, (192, 128), interpolation=cv2.INTER_AREA)
    mush = cv2.resize(small, (768, 512), interpolation=cv2.INTER_CUBIC)
    first = sharpness(picture[middle])
    assert sharpness(mush[middle]) < 0.2 * first, "the measure does not see mush"
    assert min(sharpness(frame[middle]) for frame in clip.frames) > 0.4 * first


def turned(path):  # a photo that was taken with the camera on its side
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.effect_noise((120, 80), 90).convert("RGB").save(path.with_suffix(".jpg"), exif=exif)
    return path.with_suffix(".jpg"), (80, 120)


def grey(path):
    Image.effect_noise((96, 80), 90).save(path)
    return path, (96, 80)


def see_through(path):
    rgba = Image.effect_noise((97, 81), 90).convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize(rgba.size))
    rgba.save(path)
    return path, (97, 81)


def tiny(path):
    Image.effect_noise((64, 48), 90).convert("RGB").save(path)
    return path, (64, 48)


def one_colour(path):
    Image.new("RGB", (90, 60), "navy").save(path)
    return path, (90, 60)


def panorama(path):
    Image.effect_noise((640, 64), 90).convert("RGB").save(path)
    return path, (640, 64)


@pytest.mark.parametrize("make", [grey, see_through, turned, tiny, one_colour, panorama])
def test_pictures_of_strangers(pipe, make, tmp_path):
    path, (width, height) = make(tmp_path / "picture.png")
    clip = pipe.generate(path, "zoom in", **FEW)
    assert (clip.width, clip.height) == (width, height)
    assert np.array_equal(clip.frames[0], lab.load_picture(path))
    clip.save(tmp_path / "clip.mp4")
    assert lab.judge(clip).action


def test_refused_pictures(pipe, tmp_path):
    Image.new("RGB", (1280, 64)).save(tmp_path / "long.png")
    with pytest.raises(lab.InputError, match="crop it"):
        pipe.generate(tmp_path / "long.png", "zoom in")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(lab.InputError, match="not a picture"):
        pipe.generate(tmp_path / "text.png", "zoom in")


def test_a_stopped_run_gives_no_clip(pipe, photo):
    class Stop:
        asked = 0

        def is_set(self) -> bool:
            self.asked += 1
            return self.asked > 2

    with pytest.raises(lab.Stopped, match="after 2 of 5 steps"):
        pipe.generate(photo, "zoom in", num_inference_steps=5, num_frames=2, stop=Stop())


def test_damaged_weights_are_refused(shipped_weights, tmp_path):
    data = bytearray(shipped_weights.read_bytes())
    data[len(data) // 2] ^= 1
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(data)
    shutil.copy(shipped_weights.with_suffix(".json"), tmp_path / "damaged.json")
    with pytest.raises(lab.InputError, match="sha256"):
        lab.load_pipeline("motiondit", weights=damaged)


def test_one_load_at_a_time(monkeypatch):
    """The panel loads in a thread while a cell of the notebook may load too; transformers breaks if imported twice at once."""
    inside, most = [], []

    class Backend:
        name = "motiondit"

        def load(self):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.05)
            return self.make

        def make(self, **_):
            time.sleep(0.05)
            inside.pop()
            return SimpleNamespace(defaults={}, use=list)

    monkeypatch.setattr("i2v_lab.pipeline.backends.entry_points", lambda group: [Backend()])
    threads = [threading.Thread(target=lab.load_pipeline) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("words", "measure", "sign"),
    [
        ("the duck walks to the left", "subject_right", -1),
        ("the duck walks to the right", "subject_right", 1),
        ("turn the picture clockwise", "roll", 1),
        ("turn the picture counter-clockwise", "roll", -1),
    ],
)
def test_directions_in_words_are_followed(pipe, root, words, measure, sign):
    clip = pipe.generate(root / "data" / "photos" / "gcompris-qt-data__explore_farm_animals_duck.jpg", words, seed=1)
    assert sign * lab.judge(clip).measures[measure] > 2, lab.judge(clip)
    assert clip.settings["understood"]["direction"] in ("left", "right", "clockwise", "counter-clockwise")


def test_a_walk_where_nobody_is(pipe, root):
    """The view walks, and the settings say why."""
    clip = pipe.generate(
        root / "data" / "photos" / "lomiri-wallpapers-16.04__picosdeeuropa_by_Aitzol_Berasategi.jpg", "it walks", seed=0
    )
    assert not clip.settings["subject"]["found"]
    assert "nobody" in clip.settings["note"]
    assert lab.judge(clip).action not in ("walk", "run", "static")
