"""The views of what is inside: what they send, from whatever thread, and what they say where there is nothing to see."""

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from i2v_lab.extensions.reference import TinyPipeline, sample_picture
from i2v_lab.pipeline.stages import Event
from i2v_lab.probes.action_probs import ActionProbe
from i2v_lab.probes.attention import AttentionProbe, AttentionReading, SeenAttention
from i2v_lab.probes.memory import MemoryProbe, MemoryReading
from i2v_lab.probes.motion import MotionProbe, MotionReading
from i2v_lab.probes.patch_grid import PatchGridProbe
from i2v_lab.views import attention_view, static_files
from i2v_lab.views.attention_view import AttentionView
from i2v_lab.views.inspector import ActionView, MemoryView, MotionView, PatchView

VIEWS = {
    "patch_grid": PatchView,
    "action_probs": ActionView,
    "memory": MemoryView,
    "motion": MotionView,
    "attention": AttentionView,
}
MODULES = {
    "patch_grid": ["patches"],
    "action_probs": ["actions"],
    "memory": ["memory"],
    "motion": ["motion"],
    "attention": ["attention_parts", "attention"],
}
PROBES = (PatchGridProbe, ActionProbe, MemoryProbe, MotionProbe, AttentionProbe)
ASKED = {"num_inference_steps": 3, "num_frames": 4}


def plain(value):
    """A trait as it could be written to JSON, its bytes as their number."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return f"{len(value)} bytes" if isinstance(value, bytes) else value


def answers_of(view):
    """Keep what a view would send to the browser, by the number of the question."""
    said = {}
    view.send = lambda content, buffers=None: said.__setitem__(content["id"], (content, buffers))
    return said


@pytest.fixture(scope="module")
def watched(pipe, photo):
    """A run of the shipped model, made in a thread that updates the views as it goes."""
    views, errors, made = {name: cls() for name, cls in VIEWS.items()}, [], []

    def work():
        def follow(event):
            if event.probe is not None:
                try:
                    view, reading = views[event.probe], trace.readings[event.probe]
                    view.live(reading) if event.probe == "attention" else view.update(reading)
                except Exception as e:
                    errors.append((event.probe, event.stage, event.step, repr(e)))

        with pipe.watch(*PROBES, listener=follow) as trace:  # probes see what their own thread makes
            made.extend([trace, pipe.generate(photo, "a person walking", seed=3, **ASKED)])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors == []
    return views, *made


def test_views_follow_a_run_and_leave_it_alone(watched, pipe, photo):
    views, trace, clip = watched
    assert trace.problems == {}
    assert np.array_equal(clip.frames, pipe.generate(photo, "a person walking", seed=3, **ASKED).frames)
    assert views["patch_grid"].data["grid"] == trace.patch_grid.last.grid
    assert views["action_probs"].data["action"] == trace.action_probs.decision.action
    assert [s["step"] for s in views["memory"].data["steps"]] == views["motion"].data["steps"] == [1, 2, 3]
    assert views["motion"].data["error"] == trace.motion.error
    assert views["attention"].data["decoder"]["steps"] == [1, 2, 3]


@pytest.mark.parametrize("name", VIEWS)
def test_what_is_sent_is_plain(watched, name):
    view = watched[0][name]
    assert view.data
    sent = plain(
        {k: getattr(view, k) for k in view.keys if not k.startswith("_") and k not in ("layout", "tabbable", "tooltip")}
    )
    json.dumps(sent, allow_nan=False)  # numpy's numbers and tensors would raise here


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_one_module_whose_classes_have_a_style(name):
    view = VIEWS[name]()
    text, sheet = view._esm, view._css
    assert len(re.findall(r"^export default \{ initialize, render \};$", text, re.M)) == 1
    assert not re.search(r"^\s*import\b|https?://(?!www\.w3\.org)", text, re.M)
    drawn = "".join(static_files.static_text(f"{module}.mjs") for module in MODULES[name])
    names = re.findall(r"^(?:async )?(?:function|const|let) (\w+)", text, re.M)
    assert len(names) == len(set(names)), "two joined files use the same name"
    used = set(re.findall(r"i2v-[a-z]+(?:-[a-z]+)*", drawn))
    assert len(used) > 5
    missing = sorted(c for c in used if not re.search(rf"\.{c}(?![a-z-])", sheet))
    assert not missing, f"no rule for {missing}"


def test_a_field_of_motion_arrives_as_it_was(watched):
    views, trace, _ = watched
    for name, field in (("expected", trace.motion.field()), ("observed", trace.motion.observed)):
        sent = views["motion"].data[name]
        back = np.frombuffer(sent["values"], np.int8).reshape(sent["shape"]) / 127 * sent["top"]
        assert np.abs(field).max() > 0.01, "nothing moves: there is nothing to compare"
        assert np.abs(back - field).max() <= sent["top"] / 254 + 1e-6


def test_questions_from_many_threads_get_their_own_answers(watched):
    _, trace, _ = watched
    view, reading = AttentionView(), trace.attention
    said = answers_of(view)
    view.update(reading)
    layers, heads = view.data["decoder"]["layers"], view.data["decoder"]["heads"]
    asked = {i: (1 + i % 3, i % (len(layers) + 1), i % (heads + 1)) for i in range(24)}
    with ThreadPoolExecutor(6) as pool:
        for i, (step, layer, head) in asked.items():
            pool.submit(view.heard, {"ask": dict(what="decoder", run=1, step=step, layer=layer, head=head), "id": i})
        view.live(reading)
    assert sorted(said) == sorted(asked)
    for i, (step, layer, head) in asked.items():
        content, buffers = said[i]
        wanted = reading.cross(step, layers[layer - 1] if layer else None, head - 1 if head else None)
        tops = np.frombuffer(buffers[1], np.float32)
        values = np.frombuffer(buffers[0], np.uint8).reshape(wanted.shape) / 255 * tops[:, None]
        assert content["step"] == step
        assert np.abs(values - wanted).max() <= tops.max() / 510 + 1e-6


def test_what_does_not_fit_is_sent_when_it_is_asked_for(watched, monkeypatch):
    view, reading = AttentionView(), watched[1].attention
    view.update(reading)
    whole = view.block
    assert len(whole["layers"]) > 1
    monkeypatch.setattr(attention_view, "BLOCK", len(whole["maps"]) - 1)
    view.update(reading)
    assert (view.block["layers"], view.block["heads"]) == ([0], [0])
    monkeypatch.setattr(attention_view, "BLOCK", 1000)
    view.update(reading)
    assert "too large" in view.data["decoder"]["problem"]
    assert view.block == {}
    assert view.data["encoder"]["whole"] is False


def test_a_model_that_says_nothing_of_its_tokens_is_shown_as_far_as_it_goes():
    pipe = TinyPipeline()
    with pipe.watch(*PROBES) as trace:
        pipe.generate(sample_picture(), "walk", **ASKED)
    views = {name: cls() for name, cls in VIEWS.items()}
    for name, view in views.items():
        view.update(trace.readings[name])
    assert "problem" in views["attention"].data["decoder"]
    assert views["attention"].block == {}
    assert views["motion"].data["expected"] is None
    assert views["motion"].data["observed"]["shape"][0] == ASKED["num_frames"]


def test_a_layer_that_kept_rows_only_says_so():
    call = dict(name="a", kind="self", turn=0, heads=1, queries=4, keys=4, rows=torch.ones(1, 1, 4) / 4, row_index=[2])
    view = AttentionView()
    said = answers_of(view)
    view.update(AttentionReading([Event("encode_image", 0, 1, 0.1, SeenAttention([call]))]))
    view.heard({"ask": dict(what="encoder", run=1, layer=0, head=0), "id": 1})
    assert "was not kept" in said[1][0]["problem"]
    view.heard({"ask": dict(what="patch", run=1, way="reads", patch=2, layer=0, head=0), "id": 2})
    assert "problem" not in said[2][0]


NONSENSE = [None, 3, {}, {"ask": {"what": "nothing"}, "id": 1}, {"ask": {"step": 1}, "id": 1}]


@pytest.mark.parametrize("cls", VIEWS.values())
@pytest.mark.parametrize("message", NONSENSE)
def test_messages_that_make_no_sense_do_no_harm(cls, message):
    view = cls()
    said = answers_of(view)
    view.heard(message)
    assert list(said) == ([1] if isinstance(message, dict) and "ask" in message else []), "a question has one answer"
    assert all(content["problem"] for content, _ in said.values())


def growing(cls, events):
    """A reading that has one event more each time that somebody looks at it."""

    class Growing(cls):
        def __init__(self):
            self.there, self.to_come = [], list(events)

        @property
        def events(self):
            self.there += self.to_come[:1]
            del self.to_come[:1]
            return self.there

    return Growing()


def test_a_map_is_of_the_step_that_it_is_filed_under(watched):
    """The newest step is asked for while the run makes a newer one."""
    whole, steps = watched[1].attention, []
    reading, view = growing(AttentionReading, whole.events), AttentionView()
    while reading.to_come:
        view.live(reading)
        if view.block:
            row = np.frombuffer(view.block["maps"], np.uint8).reshape(len(whole.cross()), -1)[-1]
            shown = row / 255 * np.frombuffer(view.block["tops"], np.float32)[-1]
            apart = {s: np.abs(shown - whole.cross(s)[-1]).max() for s in whole.steps}
            assert min(apart, key=apart.get) == view.block["step"]
            steps.append(view.block["step"])
    assert steps, "no step was seen while the run went on"


@pytest.mark.parametrize("seen_before", range(7))
def test_a_view_speaks_of_one_moment(watched, seen_before):
    _, trace, _ = watched
    memory, motion = MemoryView(), MotionView()
    reading = growing(MemoryReading, trace.memory.events)
    for _ in range(seen_before):
        _ = reading.events
    memory.update(reading)
    seconds = sum(row["seconds"] for row in memory.data["stages"] if row["stage"] == "denoise")
    assert sum(step["seconds"] for step in memory.data["steps"]) == pytest.approx(seconds, abs=1e-9)

    reading = growing(MotionReading, trace.motion.events)
    for _ in range(seen_before % 3):
        _ = reading.events
    motion.update(reading)
    step, top = (motion.data["expected"][key] for key in ("step", "top"))
    assert motion.data["steps"][-1] == step
    assert top == pytest.approx(float(np.abs(trace.motion.field(step)).max()))


@pytest.mark.parametrize("name", VIEWS)
def test_a_cleared_view_is_as_before_the_first_run(watched, name):
    view, fresh, reading = VIEWS[name](), VIEWS[name](), watched[1].readings[name]
    state = lambda v: {k: getattr(v, k) for k in v.keys if not k.startswith("_")}  # noqa: E731
    before = plain(state(fresh)) | {"layout": None}
    given = {} if name in ("action_probs", "memory") else {"picture": b"a JPEG file"}
    view.update(reading, **given)
    run = view.run_number
    assert plain(state(view)) | {"layout": None} != before
    view.clear()
    assert plain(state(view)) | {"layout": None} == before
    if name in ("motion", "attention"):
        said = answers_of(view)
        view.heard({"ask": dict(run=run, step=1), "id": 1})
        assert "gone" in said[1][0]["problem"]
        view.update(reading)
        assert view.data["run"] > run, "the browser would keep what it has of the run"
