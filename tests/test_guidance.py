"""Action guidance beside the other extensions, on weights it was not trained beside, and where it cannot be."""

import threading
from itertools import combinations

import numpy as np
import pytest

from i2v_lab.core.errors import InputError
from i2v_lab.extensions.action_guidance import ActionGuidance
from i2v_lab.extensions.conformance import check_extension
from i2v_lab.pipeline.mix import Mix
from i2v_lab.pipeline.registry import extension_names
from i2v_lab.pipeline.stages import Stopped

ARROWS = [dict(points=[(0.4, 0.5), (0.6, 0.45)], times=[0, 0.6]), dict(points=[(0.1, 0.1)])]
DRAWN = dict(arrows=ARROWS, still=[dict(box=(0.7, 0.7, 1, 1))])
ASKED = dict(prompt="zoom in", num_frames=6, num_inference_steps=4, seed=3)
OTHERS = [name for name in extension_names() if name != "action_guidance"]
MIXES = [list(m) for n in (0, 1, 2, len(OTHERS)) for m in combinations(OTHERS, n)]


def guided(pipe, picture, others=(), **more):
    """A clip under a plan."""
    mix = {"action_guidance": DRAWN | more, **{name: {} for name in others}}
    return pipe.generate(picture, mix=mix, **ASKED)


@pytest.fixture(scope="module")
def picture(crop):
    return crop(160, 96)


@pytest.mark.parametrize("others", MIXES, ids="+".join)
def test_beside_the_others(small_pipe, picture, others):
    """Arrows are met whatever else is on, and what promises exactness keeps it."""
    clip = guided(small_pipe, picture, others)
    said = clip.settings["extensions"]["action_guidance"]
    assert said["missed"] < 0.002 and said["arrows"] == 2 and said["guided_steps"] == 4
    exact = [n for n in others if n in ("kv_cache", "gradient_checkpointing", "offload")]
    if exact:
        without = guided(small_pipe, picture, [n for n in others if n not in exact])
        assert np.array_equal(clip.frames, without.frames)


def test_held_places_do_not_move(pipe, picture):
    clip = guided(pipe, picture)
    high, wide = clip.frames.shape[1:3]
    corner = clip.frames[:, int(0.75 * high) :, int(0.75 * wide) :].astype(int)
    free = pipe.generate(picture, mix=[], **ASKED).frames[:, int(0.75 * high) :, int(0.75 * wide) :].astype(int)
    change = lambda x: np.abs(x[1:] - x[:1]).mean()
    assert change(corner) < 1 < change(free)


@pytest.mark.parametrize("way", ["pull", "both"])
@pytest.mark.parametrize("prompt", ["zoom in", "pan to the left"])
def test_a_drawing_leaves_the_camera_to_the_prompt(pipe, root, prompt, way):
    """Beside an arrow on the subject, a region, or a small held area."""
    photo = root / "data" / "photos" / "gcompris-qt-data__erase_horse.jpg"

    def corner(**drawn):  # how the top right corner moves
        steps = []
        pipe.generate(photo, prompt, mix={"action_guidance": drawn}, progress=steps.append, num_frames=6, seed=1)
        motion = pipe.motion_of([e.payload for e in steps if e.stage == "denoise"][-1])[0, :, :, 0, -1]
        return (motion - motion[:1]).numpy()

    free = corner()
    arrow = dict(arrows=[dict(points=[(0.45, 0.5), (0.45, 0.4)])])
    region = dict(regions=[dict(area=dict(box=(0.2, 0.1, 0.7, 0.95)), action="walk", direction="left")])
    held = dict(still=[dict(box=(0.1, 0.75, 0.25, 0.9))])
    for drawn in (arrow, region, held):
        kept = (corner(**drawn, way=way) * free).sum() / np.square(free).sum()
        assert 0.8 < kept < 1.4, (drawn, kept)


def test_it_leaves_nothing_behind(small_pipe, picture):
    bare, renderer = small_pipe.generate(picture, mix=[], **ASKED), small_pipe.renderer
    guided(small_pipe, picture)
    assert small_pipe.renderer is renderer
    assert np.array_equal(small_pipe.generate(picture, mix=[], **ASKED).frames, bare.frames)


def test_other_weights_are_pulled_and_say_so(small_pipe, pipe, picture):
    """The branch was trained beside the shipped weights; with others it stays away, or says why it cannot be asked for."""
    assert guided(small_pipe, picture).settings["extensions"]["action_guidance"]["branch"] is False
    with_branch = lambda pipe: guided(pipe, picture, way="both").settings["extensions"]["action_guidance"]
    assert with_branch(small_pipe)["branch"] is False and with_branch(pipe)["branch"] is True
    with pytest.raises(InputError, match="trained beside the shipped weights"):
        guided(small_pipe, picture, way="branch")


def test_the_clip_says_how_to_make_it_again(pipe, picture, tmp_path):
    clip = guided(pipe, picture)
    path = clip.save(tmp_path / "clip.mp4")
    again = pipe.rerun(path, picture)
    assert np.array_equal(clip.frames, again.frames)
    assert clip.settings["options"]["action_guidance"]["arrows"][0]["points"] == [[0.4, 0.5], [0.6, 0.45]]


def test_stop(small_pipe, picture):
    stop = threading.Event()
    hear = lambda event: stop.set() if event.stage == "denoise" else None
    with pytest.raises(Stopped):
        small_pipe.generate(picture, mix={"action_guidance": DRAWN}, stop=stop, progress=hear, **ASKED)
    assert small_pipe.mix.names == []


def test_the_suite_of_checks(small_pipe):
    report = check_extension(ActionGuidance, small_pipe)
    assert report.passed, report


RIGHT = dict(points=[(0.5, 0.5), (0.7, 0.5)])
BOX = dict(box=(0, 0, 1, 1))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            dict(arrows=[dict(points=[(0.5, 0.5), (0.6, 2.5)])]),
            r"arrows\[0\].points\[1\]: a place is .*, got \(0.6, 2.5\)$",
        ),
        (dict(arrows=[dict(points=[(300, 200), (400, 200)])]), r"in fractions of the picture .*, got \(300, 200\)$"),
        (dict(arrows=[RIGHT | dict(times=[0, 8])]), r"times\[1\]: a time is a fraction of the clip, 0 to 1, got 8$"),
        (dict(arrows=[dict(pionts=[(0.5, 0.5)])]), r"arrows\[0\]: unknown name 'pionts'; did you mean 'points'"),
        (dict(arrows=[(0.5, 0.5), (0.7, 0.5)]), r"arrows\[0\]: .*, such as {'points': .*, got \(0.5, 0.5\)$"),
        (dict(arrows=RIGHT), r"arrows = .* is a list of Arrow, such as \[{'points': [^;]*$"),
        (
            dict(arrows=[RIGHT, dict(points=[(0.51, 0.5), (0.3, 0.5)])]),
            "arrow 2 begins where arrow 1 does and goes another",
        ),
        (dict(arrows=[dict(points=[(0.5, 0.5)]), RIGHT]), "arrow 2 begins where arrow 1 does and goes another"),
        (dict(start=0.8, end=0.2), "start 0.8 comes after end 0.2"),
        (dict(still=[dict(mask="nowhere.png")]), "nowhere.png"),
        (
            dict(still=[dict(strokes=[dict(points=[(0.5, 0.5)], width=28)])]),
            "of the picture's shorter side, .* got 28$",
        ),
        (dict(field="nowhere.safetensors"), "no motion field in 'nowhere.safetensors'"),
        (dict(field=np.zeros((16, 2, 8, 8))), r"field = an array of shape \[16, 2, 8, 8\], .*safetensors"),
        (dict(regions=[dict(area=BOX, action="fly")]), "unknown action 'fly'"),
        (dict(regions=[BOX]), r"regions\[0\]: unknown name 'box'; .* write {'area': {'box': [^;]*$"),
        (dict(regions=[dict(area=(0, 0, 1, 1), action="walk")]), r"regions\[0\].area: .*, such as {'box': "),
    ],
)
def test_what_is_wrong_is_said(small_pipe, picture, wrong, said):
    with pytest.raises(InputError, match=said):
        small_pipe.generate(picture, mix={"action_guidance": wrong}, **ASKED)
    assert small_pipe.mix.names == []


def test_arrows_side_by_side_are_met(small_pipe, picture):
    """Two on the same way, and two that part company more than a cell apart."""
    for second in (dict(points=[(0.51, 0.5), (0.71, 0.5)]), dict(points=[(0.46, 0.5), (0.3, 0.5)])):
        clip = small_pipe.generate(picture, mix={"action_guidance": dict(arrows=[RIGHT, second])}, **ASKED)
        assert clip.settings["extensions"]["action_guidance"]["missed"] < 0.002


DRAWING = """enabled_extensions: [action_guidance]
action_guidance:
  arrows:
    - points: [[0.5, 0.5], [0.7, 0.5]]
      times: [0, 1]
    - points: [[0.2, 0.2]]
  regions:
    - action: walk
      area:
        box: [0, 0, 1, 1]
"""


@pytest.mark.parametrize(
    ("line", "was", "now"),
    [
        (4, "points: [[0.5", "pionts: [[0.5"),
        (5, "times: [0, 1]", "times: [0, x]"),
        (6, "[0.2, 0.2]", "[200, 200]"),
        (6, "[0.2, 0.2]", "[0.5, 0.5]"),
        (7, "regions", "reigons"),
        (9, "area", "aera"),
        (10, "1, 1]", "1]"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(line, was, now):
    assert len(Mix.from_yaml(DRAWING)) == 1
    with pytest.raises(InputError, match=f"line {line}: "):
        Mix.from_yaml(DRAWING.replace(was, now))
