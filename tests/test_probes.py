"""Probes on the shipped model: they change nothing, leave nothing behind, and what they saw survives a file."""

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from i2v_lab import InputError, Stopped, register
from i2v_lab.pipeline.extension import Extension
from i2v_lab.pipeline.networks import modules_of
from i2v_lab.pipeline.probe import Probe, Reading, Trace, probe_names
from i2v_lab.pipeline.registry import extension_names, unregister
from i2v_lab.pipeline.stages import Event
from i2v_lab.probes.conformance import CHECKS, ProbeBench, Unmet, check_probe

PROBES = {"action_probs", "attention", "memory", "motion", "patch_grid"}
MIXES = [[], *([name] for name in extension_names()), extension_names()]
ASKED = dict(seed=3, num_inference_steps=4, num_frames=6)


def traces_in(pipe) -> list:
    """What a probe could have left inside: hooks, and attributes of the pipeline."""
    hooks = [name for name, m in modules_of(pipe).items() if m._forward_hooks or m._forward_pre_hooks]
    return [hooks, sorted(vars(pipe))]


def test_the_five_probes_are_found():
    assert PROBES <= set(probe_names())


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: "+".join(mix) or "none")
def test_frames_are_the_same_with_and_without(pipe, crop, mix):
    picture, before = crop(160, 96), traces_in(pipe)
    with pipe.using(mix):
        # a cache that is warm, or not, is a difference of its own
        plain = [pipe.generate(picture, "it walks", **ASKED) for _ in range(2)][-1]
        with pipe.watch() as trace:
            watched = pipe.generate(picture, "it walks", **ASKED)
    assert np.array_equal(plain.frames, watched.frames)
    assert plain.settings == watched.settings == trace.about
    assert trace.problems == {}
    assert all(len(trace.readings[name]) for name in PROBES - {"attention"})
    assert traces_in(pipe) == before


def test_a_trace_comes_back_from_its_file(pipe, crop, tmp_path):
    picture = crop(160, 96)
    with pipe.watch() as trace:
        pipe.generate(picture, "it walks", **ASKED)
    back = Trace.load(trace.save(tmp_path / "run.safetensors"))
    assert back.about == trace.about
    for name, reading in trace.readings.items():
        assert type(back.readings[name]) is type(reading)
        assert [(e.stage, e.step, e.seconds) for e in back.readings[name]] == [
            (e.stage, e.step, e.seconds) for e in reading
        ]
        if len(reading):  # `guidance` sees nothing where nothing is drawn
            assert type(back.readings[name].last) is type(reading.last)
    layer = trace.attention.layers("denoise")[-1]
    assert torch.equal(trace.attention.rows(layer, queries=[0, 5]), back.attention.rows(layer, queries=[0, 5]))
    assert np.array_equal(trace.motion.field(), back.motion.field())
    back.attention.plot(part="subject", frame=3)
    back.motion.plot()
    back.memory.plot()
    back.action_probs.plot()
    back.patch_grid.plot(picture)


def test_a_stopped_run_is_seen_as_far_as_it_went(pipe, crop):
    before, stop = traces_in(pipe), threading.Event()
    halt = lambda event: event.step == 2 and stop.set()
    with pytest.raises(Stopped), pipe.watch(listener=halt) as trace:
        pipe.generate(crop(96, 96), "it walks", stop=stop, **ASKED)
    assert max(e.step for e in trace.motion) == 2
    assert traces_in(pipe) == before


def test_an_extension_that_fails_leaves_no_probe_behind(pipe, crop):
    before = traces_in(pipe)

    @register
    class Breaks(Extension):
        name = "breaks"

        def denoise(self, call_next, latents, t, conditioning):
            call_next(latents, t, conditioning)
            raise RuntimeError("in the middle of a step")

    try:
        with pytest.raises(RuntimeError), pipe.watch(), pipe.using([Breaks]):
            pipe.generate(crop(96, 96), "it walks", **ASKED)
        assert traces_in(pipe) == before
        with pipe.watch("memory") as trace:  # the profiler was ended, too
            pipe.generate(crop(96, 96), "it walks", **ASKED)
        assert trace.problems == {} and trace.memory.peak_bytes > 0
    finally:
        unregister("breaks")


def test_other_threads_may_watch_their_own_clips(pipe, crop):
    """Clips of one pipeline are made one after the other; each is seen whole."""
    seen = {}

    def work(name):
        with pipe.watch("action_probs", "memory") as trace:
            pipe.generate(crop(96, 96), name, seed=0, num_inference_steps=2, num_frames=4)
        seen[name] = trace

    threads = [threading.Thread(target=work, args=(name,)) for name in ("zoom in", "zoom out")]
    for thread in threads:
        thread.start()
        time.sleep(0.01)
    for thread in threads:
        thread.join()
    assert {name: trace.about["prompt"] for name, trace in seen.items()} == {n: n for n in ("zoom in", "zoom out")}
    assert all(len(t.memory) >= 6 for t in seen.values())


def test_another_thread_may_read_a_picture_meanwhile(pipe, crop):
    """Its layers are the ones that are listened to, and the run does not notice."""
    picture, over, read = crop(96, 96), threading.Event(), []
    plain = pipe.generate(picture, "it walks", **ASKED)

    def read_on():
        while not over.is_set():
            read.append(pipe.encode_image(picture).tokens)

    other = threading.Thread(target=read_on)
    with pipe.watch("attention") as trace:
        other.start()
        try:
            watched = pipe.generate(picture, "it walks", **ASKED)
        finally:
            over.set()
            other.join()
    assert np.array_equal(plain.frames, watched.frames) and trace.problems == {}
    assert len(read) > 1 and all(torch.equal(tokens, read[0]) for tokens in read)
    assert torch._C._len_torch_function_stack() == 0


def test_views_that_are_gone_are_not_taken_for_each_other(tmp_path):
    """An array that is packed and freed gives its place to the next one."""
    events = [Event("denoise", i, 4, 0.0, dict(x=np.full((64, 3), i).T, n=np.array(i)), "some") for i in range(1, 5)]
    back = Trace.load(Trace(dict(some=Reading(events))).save(tmp_path / "run.safetensors"))
    assert [e.payload["x"].min() for e in back.some] == [e.payload["x"].max() for e in back.some] == [1, 2, 3, 4]
    assert [(e.payload["n"].shape, int(e.payload["n"])) for e in back.some] == [((), i) for i in range(1, 5)]


@pytest.mark.parametrize(
    "seen", ["[" * 50_000 + "]" * 50_000, '{"tensor:": ""}', '{"tensor:": "t9"}', '{"tuple:": 3}', '{"dict:": [3]}']
)
def test_a_damaged_trace_is_one_sentence(tmp_path, seen):
    event = '{"stage": "denoise", "step": 1, "steps": 1, "seconds": 0.5, "payload": %s}'
    said = '{"about": {}, "problems": {}, "readings": {"some": [%s]}}' % (event % seen)
    save_file({"": torch.ones(1)}, tmp_path / "run.safetensors", metadata=dict(i2v_lab_trace=said))
    with pytest.raises(InputError, match="not the file of a trace, or damaged"):
        Trace.load(tmp_path / "run.safetensors")


@pytest.mark.parametrize("field, value", [("stage", 3), ("step", "one"), ("seconds", None), ("steps", [])])
def test_events_of_a_file_are_checked(tmp_path, field, value):
    event = dict(stage="denoise", step=1, steps=1, seconds=0.5, payload={}) | {field: value}
    said = json.dumps(dict(about={}, problems={}, readings=dict(some=[event])))
    save_file({}, tmp_path / "run.safetensors", metadata=dict(i2v_lab_trace=said))
    with pytest.raises(InputError, match="not the file of a trace, or damaged"):
        Trace.load(tmp_path / "run.safetensors")


def test_payloads_of_another_type_are_plain(tmp_path):
    """A reading can rely on its payloads, or is a plain one."""
    event = dict(stage="encode_image", step=0, steps=1, seconds=0.5, payload=dict(grid="wide"))
    said = json.dumps(dict(about={}, problems={}, readings=dict(patch_grid=[event])))
    save_file({}, tmp_path / "run.safetensors", metadata=dict(i2v_lab_trace=said))
    with pytest.warns(UserWarning, match="'patch_grid' is read without its probe; it has changed since"):
        back = Trace.load(tmp_path / "run.safetensors")
    assert type(back.patch_grid) is Reading and back.patch_grid.last == dict(grid="wide")


def test_tuples_stay_tuples(pipe, crop, tmp_path):
    with pipe.watch("patch_grid") as trace:
        pipe.generate(crop(96, 64), "it walks", **ASKED)
    back = Trace.load(trace.save(tmp_path / "run.safetensors")).patch_grid.last
    assert back.grid == trace.patch_grid.last.grid and isinstance(back.grid, tuple)


@pytest.mark.parametrize("name", sorted(PROBES))
def test_the_five_probes_keep_their_promises(pipe, name):
    check_probe(name, pipe).raise_if_failed()


class Good(Probe):
    """Reads the latents."""

    name = "good"

    def see(self, event, run):
        return dict(x=event.payload.clone()) if event.stage == "denoise" else None


class NoName(Good):
    name = "not a name"


class OtherFrames(Good):
    def see(self, event, run):
        event.payload.frames[-1] = 0 if event.stage == "decode" else event.payload
        return super().see(event, run)


class Writes(Good):
    """Where nobody reads afterwards."""

    def see(self, event, run):
        if event.stage == "decode":
            run.conditioning.context.zero_()
        return super().see(event, run)


class LeavesAHook(Good):
    def begin(self, run):
        run.target.model.decoder.register_forward_hook(lambda *_: None)


class LeavesAHookWhenStopped(Good):
    def begin(self, run):
        self.hook = run.target.model.decoder.register_forward_hook(lambda *_: None)

    def see(self, event, run):
        if event.stage == "decode":
            self.hook.remove()
        return super().see(event, run)


class Seeds(Good):
    def begin(self, run):
        torch.manual_seed(len(run.request.prompt))


class ServesOnce(Good):
    count = 0

    def see(self, event, run):
        self.count += 1
        return dict() if self.count < 5 else None


class HearsOthers(Good):
    def begin(self, run):
        mine = threading.get_ident()

        def hook(module, args, output):
            if threading.get_ident() != mine:
                raise RuntimeError("not yours")

        self.hook = run.target.model.image.features.vit.blocks[0].register_forward_hook(hook)

    def end(self, run):
        self.hook.remove()


@dataclass(frozen=True)
class Number:
    number: int


class SeesSomethingElse(Good):
    Seen = Number


class CannotBeKept(Good):
    def see(self, event, run):
        return dict(event=event)


class ComesBackAsSomethingElse(Good):
    Seen = Number

    def see(self, event, run):
        return Number("one")


class KeepsWhatGoesOn(Good):
    def begin(self, run):
        self.seen = dict(steps=[])

    def see(self, event, run):
        self.seen["steps"].append(event.step)
        return self.seen


class Stumbles(Good):
    @contextmanager
    def around(self, stage, step):
        yield
        raise RuntimeError("no legs")


BROKEN = dict(
    it_has_a_name_and_a_sentence=[NoName],
    frames_are_the_same=[OtherFrames, Stumbles],
    nothing_it_is_shown_changes=[Writes],
    nothing_is_left_behind=[LeavesAHook, LeavesAHookWhenStopped, Seeds],
    one_probe_serves_many_runs=[ServesOnce],
    other_threads_are_left_alone=[HearsOthers],
    it_sees_what_it_says=[SeesSomethingElse],
    a_file_gives_it_back=[CannotBeKept, ComesBackAsSomethingElse],
    what_was_seen_stays=[KeepsWhatGoesOn],
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_check_of_a_probe_can_fail(pipe, check):
    for cls in BROKEN[check.__name__]:
        before = pipe.model.decoder._forward_hooks.copy()
        try:
            with pytest.raises((Unmet, InputError, TypeError)):
                check(ProbeBench(cls, pipe))
        finally:
            pipe.model.decoder._forward_hooks.clear()
            pipe.model.decoder._forward_hooks.update(before)
    check(ProbeBench(Good, pipe))
