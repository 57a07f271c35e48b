"""Probes on the shipped model: they change nothing, leave nothing behind, and what they saw survives a file."""

import threading
import time

import numpy as np
import pytest
import torch

from i2v_lab import Stopped, register
from i2v_lab.pipeline.extension import Extension
from i2v_lab.pipeline.networks import modules_of
from i2v_lab.pipeline.probe import Trace, probe_names
from i2v_lab.pipeline.registry import extension_names, unregister

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
    assert {t.about["num_inference_steps"] for t in seen.values()} == {2}
    assert all(len(t.memory) >= 6 for t in seen.values())
