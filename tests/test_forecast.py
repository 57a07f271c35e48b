"""A forecast, made without weights, against what a clip really takes: memory by part, operations, mixes, bad input."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

import i2v_lab as lab
from i2v_lab.backends.shapes import skeleton
from i2v_lab.backends.tiny import quiet
from i2v_lab.extensions.snapshot import Surroundings
from i2v_lab.extensions.step_cache import is_due
from i2v_lab.forecasting.forecast import PARTS, Forecast, forecast
from i2v_lab.pipeline.networks import networks
from i2v_lab.pipeline.pipeline import Pipeline
from i2v_lab.probes.memory import MemoryProbe, start_lean
from i2v_lab.study.metrics import count_flops

FAMILIES = {"i2vgen_xl": (192, 128, 4), "svd": (192, 128, 4), "wan": (192, 128, 5), "wan22": (192, 128, 5)}
FAMILIES |= {"wan22_5b": (192, 128, 5), "ltx": (192, 128, 9)}  # width, height, frames
MARK = 1_234_577  # bytes: no tensor here has as many
WORDS, STEPS = "a dog runs", 3


@pytest.fixture(scope="session")
def pipe_of(checkpoints):
    """Pipelines by family and precision; each is loaded once."""
    known = {}

    def get(family: str, dtype: str = "fp32") -> Pipeline:
        if (family, dtype) not in known:
            asked = dict(model=str(checkpoints / family), size=FAMILIES[family][:2], dtype=dtype, device="cpu")
            with quiet():
                known[family, dtype] = lab.load_pipeline("diffusers", **asked)
        return known[family, dtype]

    return get


@pytest.fixture(scope="session")
def said(checkpoints):
    """Forecasts by family and what is asked; each is made once."""
    known = {}

    def get(family: str, mix=None, dtype: str = "fp32", steps: int = STEPS, **more) -> Forecast:
        key = family, json.dumps(mix), dtype, steps, str(more)
        if key not in known:
            width, height, frames = FAMILIES[family]
            asked = dict(dtype=dtype, steps=steps, device="cpu") | more
            known[key] = forecast(str(checkpoints / family), (width, height), frames, mix, **asked)
        return known[key]

    return get


def picture(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


def measured(pipe: Pipeline, image: np.ndarray, frames: int, mix=None) -> dict[str, int]:  # bytes
    """The highest level of torch's own allocations in each part of a clip, above that at its start."""
    asked, mark = dict(num_frames=frames, num_inference_steps=STEPS), lambda e: stages.append(e.stage) or tick()
    tick, stages = lambda: torch.empty(MARK, dtype=torch.uint8), []
    pipe.generate(image, WORDS, **asked)  # whatever is made at first
    with pipe.using(mix):
        stop = start_lean()
        try:
            pipe.generate(image, WORDS, progress=mark, **asked)
        finally:
            sizes = stop()
    level, highest, out, done = 0, 0, dict.fromkeys(PARTS, 0), iter(stages)
    for size in sizes:
        if size == MARK:  # a stage has ended
            stage = next(done)
            part = next(name for name, own in PARTS.items() if stage in own)
            out[part], highest = max(out[part], highest), level
        level += size
        highest = max(highest, level) if abs(size) != MARK else highest
    return out


def expect_close(said: Forecast, activations: dict[str, int]) -> None:
    """Within 10 %: every part, and the whole with its weights."""
    ratios = {name: part.activations_bytes / activations[name] for name, part in said.parts.items()}
    assert all(0.9 <= ratio <= 1.1 for ratio in ratios.values()), ratios
    highest = max(part.weights_bytes + activations[name] for name, part in said.parts.items())
    assert 0.9 <= said.peak_bytes / highest <= 1.1


# Memory


@pytest.mark.parametrize(("family", "dtype"), [*((f, "fp32") for f in FAMILIES), ("wan", "bf16"), ("ltx", "bf16")])
def test_memory_is_what_is_measured(family, dtype, said, pipe_of):
    width, height, frames = FAMILIES[family]
    pipe = pipe_of(family, dtype)
    expect_close(said(family, dtype=dtype), measured(pipe, picture(width, height), frames))
    parts = said(family, dtype=dtype).parts
    real = sum(t.nbytes for m in networks(pipe).values() for t in {*m.parameters(), *m.buffers()})
    assert {part.weights_bytes for part in parts.values()} == {real}


@pytest.mark.parametrize("family", ["wan", "i2vgen_xl"])
def test_memory_with_a_cache_is_what_is_measured(family, said, pipe_of):
    width, height, frames = FAMILIES[family]
    cached, bare = said(family, ["kv_cache"]), said(family)
    expect_close(cached, measured(pipe_of(family), picture(width, height), frames, ["kv_cache"]))
    assert cached.parts["decode"].held_bytes >= bare.parts["decode"].held_bytes
    assert cached.mix == ("kv_cache",) and cached.flops < bare.flops


@pytest.mark.parametrize("size", [(320, 240), (512, 512), (1280, 720)])
def test_memory_of_the_shipped_model_is_what_is_measured(size, pipe):
    image, dtype = picture(*size), pipe.precision_name
    found = measured(pipe, image, 16)
    with pipe.watch(MemoryProbe(every=1, numpy=True)) as trace:
        pipe.generate(image, WORDS, num_frames=16, num_inference_steps=STEPS)
    found["decode"] += next(row["numpy_bytes"] for row in trace.memory.table() if row["stage"] == "decode")
    expect_close(forecast("motiondit", size, 16, dtype=dtype, steps=STEPS, device="cpu"), found)


@pytest.mark.parametrize("mix", [None, ["kv_cache"]], ids=str)
def test_memory_does_not_grow_with_steps_and_operations_do(mix, said):
    few, many = said("i2vgen_xl", mix), said("i2vgen_xl", mix, steps=43)
    for name, part in few.parts.items():
        assert abs(many.parts[name].activations_bytes - part.activations_bytes) <= 0.01 * part.activations_bytes
    first, second = (f.parts["denoise"].flops for f in (few, many))
    if mix is None:
        assert second * STEPS == first * 43
    assert 13 < second / first < 43 / STEPS + 0.01


def test_offloaded_encoders_are_not_there_when_the_decoder_runs(said, pipe_of):
    bare, away = said("i2vgen_xl"), said("i2vgen_xl", {"kv_cache": dict(offload_encoders=True)})
    parts = pipe_of("i2vgen_xl").parts
    small = 64 * 1024  # bytes: what is smaller stays
    encoders = [p for m in (parts.text_encoder, parts.image_encoder) for p in m.parameters() if p.nbytes >= small]
    for name in ("text", "image"):
        assert away.parts[name].weights_bytes == bare.parts[name].weights_bytes
    for name in ("denoise", "decode"):
        assert bare.parts[name].weights_bytes - away.parts[name].weights_bytes == sum(p.nbytes for p in encoders) > 0


def test_a_weight_of_two_bytes_takes_half(said):
    long, short = said("ltx"), said("ltx", dtype="bf16")
    assert long.parts["text"].weights_bytes == 2 * short.parts["text"].weights_bytes
    assert long.flops == short.flops


# Operations


@pytest.mark.parametrize("family", FAMILIES)
def test_operations_are_those_of_the_real_run(family, said, pipe_of):
    width, height, frames = FAMILIES[family]
    pipe, counts = pipe_of(family), []
    own = pipe.denoise

    def counted(*given):
        out = []
        counts.append(count_flops(lambda: out.append(own(*given))))
        return out[0]

    with patch.object(pipe, "denoise", counted):
        pipe.generate(picture(width, height), WORDS, num_frames=frames, num_inference_steps=STEPS)
    assert len(counts) == STEPS and said(family).parts["denoise"].flops == sum(counts) > 0


def test_without_guidance_there_is_half_to_do(said):
    guided, plain = (said("ltx", cfg_scale=scale).parts["denoise"].flops for scale in (3.0, 1.0))
    assert guided == 2 * plain


@pytest.mark.parametrize("interval", [2, 4])
def test_step_cache_is_counted_by_its_schedule(interval, said):
    steps, mix = 20, {"step_cache": dict(interval=interval, warmup=1)}
    due = sum(is_due(step, steps, interval, 1) for step in range(steps))
    bare, cached = (said("ltx", m, steps=steps).parts["denoise"].flops for m in (None, mix))
    assert cached * steps == bare * due and due < 0.6 * steps


# What is said


def test_it_is_ready_for_json(said):
    found = said("ltx")
    told = json.loads(json.dumps(found.to_dict()))
    assert {"peak_bytes", "parts", "flops"} <= told.keys() and list(told["parts"]) == [
        "text",
        "image",
        "denoise",
        "decode",
    ]
    assert all({"weights_bytes", "activations_bytes"} <= part.keys() for part in told["parts"].values())
    assert told["peak_bytes"] == max(p["weights_bytes"] + p["activations_bytes"] for p in told["parts"].values())
    assert told["flops"] == sum(part["flops"] for part in told["parts"].values())
    assert (told["size"], told["frames"], told["steps"], told["device"]) == ([192, 128], 9, STEPS, "cpu")


def test_it_says_whether_it_fits(said):
    found = said("ltx")
    assert found.fits(found.peak_bytes / 0.9 + 1) and not found.fits(found.peak_bytes)
    assert "too much: your device has" in found.sentence(2**20) and "; your device has" in found.sentence(2**40)
    assert found.largest in repr(found) and "| decode |" in found.table()
    with pytest.raises(lab.InputError, match="asked in bytes, got 12; a card of 12 GiB has"):
        found.fits(12)


def test_a_revision_of_the_hub_is_forecast(checkpoints, tmp_path, monkeypatch):
    """Two revisions in the hub's cache, of which one has a layer more."""
    model = tmp_path / "models--me--tiny"
    for name, layers in (("main", 2), ("deeper", 3)):
        shutil.copytree(checkpoints / "ltx", model / "snapshots" / name, ignore=lambda *_: ["README.md"])
        config = model / "snapshots" / name / "transformer" / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | dict(num_layers=layers)))
        (model / "refs").mkdir(exist_ok=True)
        (model / "refs" / name).write_text(name)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    asked = dict(size=(64, 64), frames=9, steps=2, dtype="fp32", device="cpu")
    plain, deeper = (forecast("me/tiny", revision=r, **asked) for r in (None, "deeper"))
    local = forecast(str(checkpoints / "ltx"), **asked)
    assert plain.weights == local.weights and plain.flops == local.flops
    assert deeper.weights["transformer"] > plain.weights["transformer"] and deeper.flops > plain.flops
    with pytest.raises(lab.InputError, match="no model 'me/tiny'"):
        forecast("me/tiny", revision="other", **asked)


def test_a_gpu_holds_two_groups_of_what_is_offloaded(checkpoints, tmp_path):
    """The block that works and the one that is on its way; of a VAE, whose next layer is not known, one."""
    model = shutil.copytree(checkpoints / "ltx", tmp_path / "ltx")
    config = model / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | dict(num_layers=5)))
    said = forecast(str(model), (64, 64), 9, {"offload": dict(weights="block")}, "fp32", steps=2, device="cuda")
    parts = skeleton(str(model)).parts
    size = lambda *modules: sum(4 * p.numel() for m in modules for p in m.parameters())
    blocks = parts.transformer.transformer_blocks
    assert len(blocks) == 5 and size(blocks[0]) == size(blocks[1])
    assert said.parts["denoise"].weights_bytes == size(parts.transformer) - size(*blocks[2:])
    leaves = [m for m in parts.vae.modules() if not list(m.children())]
    assert said.parts["decode"].weights_bytes == max(map(size, leaves))


def test_what_reads_values_is_left_out_and_said(said):
    found = said("ltx", ["action_prior"])
    assert found.mix == ("action_prior",) and "left out" in found.notes[0]
    assert found.peak_bytes == said("ltx").peak_bytes


def test_nothing_is_left_behind(checkpoints):
    from torch.utils._python_dispatch import _get_current_dispatch_mode_stack as modes

    around = Surroundings()
    for model, mix in ((str(checkpoints / "ltx"), ["kv_cache"]), ("motiondit", None)):
        forecast(model, (64, 64), 9, mix, dtype="fp32", steps=2, device="cpu")
        assert modes() == [] and around.differences() == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (dict(model="i2vgen"), "unknown model 'i2vgen'; did you mean 'i2vgen-xl'"),
        (dict(model="nobody/has-this"), "no model 'nobody/has-this'"),
        (dict(model="."), "has no model_index.json"),
        (dict(model="ltx", size="big"), "a size is width x height"),
        (dict(model="ltx", size="65x64"), "multiples of 32 pixels, got 65x64"),
        (dict(model="ltx", frames=1), "num_frames must be between 2 and"),
        (dict(model="ltx", steps=0), "num_inference_steps must be between 1 and"),
        (dict(model="ltx", dtype="fp8"), "unknown dtype 'fp8'"),
        (dict(model="ltx", mix=["kv_cahce"]), "did you mean 'kv_cache'"),
        (dict(model="ltx", size="64x64", frames=9, steps=2, device="mps"), "memory of a mps device cannot be forecast"),
    ],
    ids=str,
)
def test_bad_input_is_one_sentence(asked, message):
    with pytest.raises(lab.InputError, match=message) as error:
        forecast(**asked)
    assert "\n" not in str(error.value)


# Full size

FULL = """
import json, resource, time
from i2v_lab.forecasting.forecast import forecast
start = time.perf_counter()
told = forecast("i2vgen-xl", "512x512", 16, dtype="fp16").to_dict()
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps(dict(told, seconds=time.perf_counter() - start, most=most)))
"""


def test_full_size_is_quick_and_takes_little(root: Path):
    """The only full-size one here: others are in `tests/bench/backends.py`."""
    out = subprocess.run([sys.executable, "-c", FULL], cwd=root, check=True, capture_output=True, text=True).stdout
    told = json.loads(out)
    assert told["seconds"] < 60 and told["most"] * (1 if sys.platform == "darwin" else 1024) < 4e9
    assert 4.9e9 < told["parts"]["denoise"]["weights_bytes"] < 5.1e9  # 2.49 billion of two bytes
    assert 7e9 < told["peak_bytes"] < 12e9 and 1e15 < told["flops"] < 1e16
