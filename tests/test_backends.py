"""The diffusers families behind the five stages: against diffusers' own pipelines, with every mix, and with bad input.

Weights are random (`tiny_checkpoint`); classes, files, tokenizers and schedulers are those of the real models.
With `I2V_LAB_DEVICE=cuda` the same tests run on a GPU.
"""

import json
import shutil
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from conftest import DEVICE
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image
from safetensors.torch import load_file, save_file
from test_action_prior_clip import tiny_clip
from torch._subclasses.fake_tensor import FakeTensorMode

import i2v_lab as lab
from i2v_lab.backends.adapter import worded
from i2v_lab.backends.tiny import quiet, random_pipeline, tiny_checkpoint
from i2v_lab.core.clip import Clip
from i2v_lab.extensions.action_guidance import ActionGuidance
from i2v_lab.extensions.action_prior import ActionPrior
from i2v_lab.extensions.compatibility import compatibility
from i2v_lab.extensions.snapshot import Snapshot, Surroundings
from i2v_lab.forecasting.fake import Account
from i2v_lab.forecasting.forecast import shadow
from i2v_lab.pipeline.networks import networks
from i2v_lab.pipeline.pipeline import Pipeline, Request, run_stages
from i2v_lab.pipeline.probe import Run, probe_names
from i2v_lab.pipeline.registry import extension_names
from i2v_lab.study.metrics import count_flops

FRAMES = {"i2vgen_xl": 5, "svd": 5, "wan": 5, "wan22": 5, "wan22_5b": 5, "ltx": 9}
GUIDANCE = {"svd": "max_guidance_scale"}  # what diffusers calls it; elsewhere `guidance_scale`
FRAME_RATE = {"i2vgen_xl": "target_fps", "svd": "fps", "ltx": "frame_rate"}
OTHER = {"i2vgen_xl": ("128x64", 4, 4), "svd": ("128x64", 3, 3), "ltx": ("96x64", 12, 17)}  # size, frames, rounded up
WORDS = "a dog runs"
BF16 = {"ltx": 2**-9, "wan22_5b": 0.05}  # diffusers rounds to bf16 where we do not: LTX's frames, Wan 5B's scheduler
KEEP_FRAMES = {"kv_cache", "offload", "gradient_checkpointing"}

families = pytest.mark.parametrize("family", FRAMES)


def load(model, **how) -> Pipeline:
    """Without progress bars."""
    with quiet():
        return lab.load_pipeline(
            "diffusers", model=str(model), **(dict(dtype="fp32", size="64x64", device=DEVICE) | how)
        )


@pytest.fixture(scope="session")
def pipe_of(checkpoints):
    """Pipelines by family, size and precision; each is loaded once."""
    known = {}

    def get(family: str, size: str = "64x64", dtype: str = "fp32") -> Pipeline:
        if (family, size, dtype) not in known:
            known[family, size, dtype] = load(checkpoints / family, size=size, dtype=dtype)
        return known[family, size, dtype]

    return get


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """Smooth noise, wider than high."""
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((160, 120), Image.Resampling.BICUBIC))


def short(family: str, **more) -> dict:
    """A small clip."""
    return dict(num_inference_steps=3, num_frames=FRAMES[family]) | more


def float_frames(pipe, *given, **asked) -> tuple[Clip, np.ndarray]:  # `[T,H,W,3]` in 0..1
    """A clip, and its frames before they are rounded."""
    seen, own = [], pipe.frames
    with patch.object(pipe, "frames", lambda latents: seen.append(own(latents)) or seen[0]):
        clip = pipe.generate(*given, **asked)
    return clip, seen[0].permute(0, 2, 3, 1).float().cpu().numpy()


def frames_of_diffusers(pipe, picture, seed: int, frames: int, scale: float) -> np.ndarray:  # `[T,H,W,3]` in 0..1
    """What the same parts make in diffusers' own hands."""
    own, family = pipe.parts, pipe.family
    high, wide = pipe.size
    asked = dict(height=high, width=wide, num_frames=frames, num_inference_steps=3, output_type="np")
    asked[GUIDANCE.get(family, "guidance_scale")] = scale
    asked["generator"] = torch.Generator().manual_seed(seed)
    if family in FRAME_RATE:
        asked[FRAME_RATE[family]] = int(pipe.defaults["fps"])
    if pipe.reads_words:
        asked["prompt"] = WORDS
    if family == "i2vgen_xl":
        own.text_encoder.__dict__["text_model"] = own.text_encoder  # diffusers asks for it, transformers 5 has it not
    own.set_progress_bar_config(disable=True)
    pipe.settle()
    try:
        with drawn_on_the_cpu(asked["generator"]) if family == "i2vgen_xl" else nullcontext():
            return own(image=Image.fromarray(picture), **asked).frames[0]
    finally:
        getattr(own, "text_encoder", own).__dict__.pop("text_model", None)


def drawn_on_the_cpu(generator: torch.Generator):
    """I2VGen-XL's VAE draws from the device's own random numbers, and takes no generator; here it is given one."""

    def sample(found, generator=generator):
        return found.mean + found.std * torch.randn(found.mean.shape, generator=generator).to(found.mean)

    return patch.object(DiagonalGaussianDistribution, "sample", sample)


# The same frames


@pytest.mark.parametrize("scale", [4.0, 1.0], ids=["guided", "unguided"])
@families
def test_frames_are_those_of_diffusers(family, scale, pipe_of, picture):
    pipe = pipe_of(family)
    clip, mine = float_frames(pipe, picture, WORDS, seed=3, cfg_scale=scale, **short(family))
    theirs = frames_of_diffusers(pipe, picture, 3, FRAMES[family], scale)
    assert theirs.std() > 0.05 and np.abs(theirs[0] - theirs[-1]).mean() > 0.01  # there is something to compare
    assert mine.shape == theirs.shape == (FRAMES[family], 64, 64, 3)
    assert np.abs(mine - theirs).max() <= 1e-4
    assert np.abs(clip.frames - 255 * theirs).max() <= 0.55  # rounded, and nothing else


@families
def test_frames_are_those_of_diffusers_at_another_size_and_length(family, pipe_of, picture):
    size, frames, rounded_up = OTHER.get(family, ("96x64", 6, 9))
    pipe, wide = pipe_of(family, size), int(size.split("x")[0])
    clip, mine = float_frames(pipe, picture, WORDS, seed=5, cfg_scale=3.0, **short(family, num_frames=frames))
    theirs = frames_of_diffusers(pipe, picture, 5, rounded_up, 3.0)
    assert clip.frames.shape == (frames, 64, wide, 3)
    assert mine.shape == theirs.shape == (rounded_up, 64, wide, 3)
    assert np.abs(mine - theirs).max() <= 1e-4


@pytest.mark.parametrize("family", ["i2vgen_xl", "ltx"])
def test_a_vae_that_is_not_sure_draws_what_it_draws_in_diffusers(family, checkpoints, picture):
    """Tiny VAEs are made sure of what they see (`be_sure`), so that nothing depends on their draw; here it counts."""
    pipe = load(checkpoints / family)
    vae = pipe.parts.vae
    means = vae.config.latent_channels
    biases = [w for n, w in vae.named_parameters() if n.startswith(("encoder.", "quant_conv.")) and n.endswith(".bias")]
    with torch.no_grad():
        biases[-1][means:] += 18
    _, mine = float_frames(pipe, picture, WORDS, seed=5, cfg_scale=3.0, **short(family))
    theirs, other = (frames_of_diffusers(pipe, picture, seed, FRAMES[family], 3.0) for seed in (5, 6))
    assert np.abs(mine - theirs).max() <= 1e-4 < 1e-2 < np.abs(other - theirs).max()


@families
def test_bf16_loads_and_frames_are_those_of_diffusers(family, pipe_of, picture):
    pipe = pipe_of(family, dtype="bf16")
    kinds = {k: m.dtype for k, m in pipe.parts.components.items() if isinstance(m, torch.nn.Module)}
    long = {k for k, dtype in kinds.items() if dtype == torch.float32}
    assert set(kinds.values()) <= {torch.float32, torch.bfloat16}
    assert long == set(pipe.float32_parts) & set(kinds)
    clip, mine = float_frames(pipe, picture, WORDS, seed=3, cfg_scale=4.0, **short(family))
    theirs = frames_of_diffusers(pipe, picture, 3, FRAMES[family], 4.0)
    apart = np.abs(mine - theirs)
    assert clip.settings["dtype"] == "bf16" and theirs.std() > 0.05
    assert apart.max() <= BF16.get(family, 1e-4) and apart.mean() <= 2e-3


@pytest.mark.parametrize("family", ["i2vgen_xl", "svd"])
def test_fp16_makes_nearly_the_frames_of_fp32(family, pipe_of, picture):
    half = pipe_of(family, dtype="fp16")
    clips = [p.generate(picture, WORDS, num_inference_steps=2, num_frames=2) for p in (half, pipe_of(family))]
    frames = [clip.frames.astype(float) for clip in clips]
    assert {m.dtype for m in half.parts.components.values() if isinstance(m, torch.nn.Module)} == {torch.float16}
    assert np.corrcoef(*(f.ravel() for f in frames))[0, 1] > 0.95
    assert [clip.settings["dtype"] for clip in clips] == ["fp16", "fp32"]


@families
def test_no_more_is_computed_than_by_diffusers(family, pipe_of, picture):
    "But for one small thing: without guidance the empty prompt is read all the same."
    pipe, scale = pipe_of(family), 1.0 if family in ("ltx", "svd") else 4.0
    mine = count_flops(lambda: pipe.generate(picture, WORDS, cfg_scale=scale, **short(family)))
    theirs = count_flops(lambda: frames_of_diffusers(pipe, picture, 0, FRAMES[family], scale))
    more = count_flops(lambda: pipe.embed("")) if family == "ltx" else 0
    assert mine - more == theirs > 0


@families
def test_frames_leave_torch_in_one_piece(family, pipe_of, picture):
    """Numpy would lay out a clip's frames anew, and take longer over it than all else outside the networks."""
    pipe, given = pipe_of(family), []
    own = pipe.to_numpy
    with patch.object(pipe, "to_numpy", lambda x: given.append(x) or own(x)):
        pipe.generate(picture, WORDS, **short(family))
    assert [x.is_contiguous() for x in given if x.dtype == torch.uint8] == [True]


# What a clip depends on


@families
def test_a_clip_comes_of_its_seed_and_of_no_other_random_numbers(family, pipe_of, picture):
    pipe, around = pipe_of(family), Surroundings()
    one = pipe.generate(picture, WORDS, seed=1, **short(family)).frames
    assert around.differences() == []
    torch.rand(1), np.random.rand()
    pipe.generate(255 - picture, "a boat", seed=2, num_inference_steps=2, num_frames=FRAMES[family])
    assert np.array_equal(pipe.generate(picture, WORDS, seed=1, **short(family)).frames, one)
    assert not np.array_equal(pipe.generate(picture, WORDS, seed=2, **short(family)).frames, one)


@families
def test_a_clip_leaves_the_pipeline_as_it_was(family, pipe_of, picture):
    pipe = pipe_of(family)
    pipe.generate(picture, WORDS, **short(family))  # schedulers and caches are made at first
    before = Snapshot(pipe)
    pipe.generate(picture, WORDS, **short(family))
    left = [said for said in before.differences() if "parts.scheduler" not in said]
    assert left == []


@families
def test_picture_prompt_and_action_matter(family, pipe_of, picture):
    pipe = pipe_of(family)
    make = lambda prompt, image=picture, **more: pipe.generate(image, prompt, **short(family, **more)).frames
    plain = make(WORDS)
    assert not np.array_equal(make(WORDS, 255 - picture), plain)
    if family == "svd":
        assert np.array_equal(make("a boat on the lake"), plain)
        assert np.array_equal(make(WORDS, action="walk"), plain)
        still, run = make(WORDS, action="static"), make(WORDS, action="run")
        assert not np.array_equal(still, run) and not np.array_equal(still, plain) and not np.array_equal(run, plain)
        return
    assert not np.array_equal(make("a boat on the lake"), plain)
    for action in ("zoom_in", "run"):
        acted = make(WORDS, action=action)
        assert not np.array_equal(acted, plain)
        assert np.array_equal(acted, make(worded(WORDS, lab.Action.parse(action))))
    assert np.array_equal(make("", action="run"), make(worded("", lab.Action.RUN)))


@families
def test_any_picture_is_taken(family, pipe_of):
    pipe, rng = pipe_of(family), np.random.default_rng(1)
    for shape in ((16, 16), (16, 256), (256, 16)):
        image = rng.integers(0, 255, (*shape, 3), dtype=np.uint8)
        for mix in ([], ["adaptive_patch"]):
            clip = pipe.generate(image, WORDS, mix=mix, num_inference_steps=2, num_frames=FRAMES[family])
            assert len(clip.frames) == FRAMES[family]
            high, wide = clip.frames.shape[1:3]
            assert high * wide <= 64 * 64 and high % pipe.multiple == wide % pipe.multiple == 0


# Mixes


@pytest.fixture(scope="session")
def clip_model(tmp_path_factory) -> str:
    """For `action_prior`: none of the families has an action head."""
    return str(tiny_clip(tmp_path_factory.mktemp("models") / "clip"))


@families
def test_every_mix(family, pipe_of, picture):
    """All 64; 4 steps, of which `step_cache` skips one; a wide picture, for which `adaptive_patch` has another canvas.

    `action_guidance` is nothing where nothing is drawn; where something is, see below.
    """
    pipe = pipe_of(family, "32x32" if family in ("wan", "wan22") else "64x64")
    frames = 3 if family in ("i2vgen_xl", "svd") else FRAMES[family]
    asked = dict(prompt=WORDS, num_inference_steps=4, num_frames=frames, cfg_scale=3.0)
    names = [name for name in extension_names() if name != "action_guidance"]
    matrix = compatibility(pipe, names, pictures=[picture[:50]], **asked)
    assert matrix.failed == [], matrix
    assert len(matrix.rows) == 2 ** len(names) and pipe.mix.names == []
    apart = {frozenset(row.mix): row.difference for row in matrix.rows if row.status == "ok"}
    for row in matrix.rows:
        assert (row.status == "refused") == ("action_prior" in row.mix), row
        if row.status == "refused":
            assert "has no trained action head" in row.reason and "name a CLIP model" in row.reason
        else:
            own = frozenset(row.mix)
            assert row.status == "ok" and apart[own] == apart[own - KEEP_FRAMES], row
    assert apart[frozenset()] == 0 < min(apart[frozenset({name})] for name in ("step_cache", "adaptive_patch"))


# A drawing, for models that were not trained for one

DRAWN = dict(arrows=[dict(points=[(0.2, 0.2), (0.6, 0.5)])], still=[dict(box=(0.7, 0.6, 1, 1))])


@families
def test_a_clip_becomes_the_latents_that_would_be_decoded_to_it(family, pipe_of, picture):
    pipe, given = pipe_of(family), []
    clip = np.stack([picture, picture[::-1]] * 5)[: FRAMES[family]]
    with torch.inference_mode():
        shown = pipe.on_canvas(clip, pipe.encode_image(picture))
        latents, vae = pipe.latents_of(shown), pipe.parts.vae
        with patch.object(vae, "decode", lambda x, *a, **kw: given.append(x) or Decode.__get__(vae)(x, *a, **kw)):
            Decode = type(vae).decode
            frames = pipe.frames(latents)
        video = shown if len(given[0].shape) == 4 else shown.transpose(0, 1)[None]
        encoded = vae.encode(video.to(vae.dtype)).latent_dist.mode()
    assert shown.shape[0] == FRAMES[family] == len(frames) and shown.min() >= -1 and shown.max() <= 1
    assert latents.shape[1:] == pipe.latent_shape(pipe.encode_image(picture), FRAMES[family])[1:]
    assert torch.allclose(torch.cat(given), encoded, atol=1e-5)


@families
def test_a_prediction_can_be_made_to_point_anywhere(family, pipe_of):
    pipe, shape = pipe_of(family), (1, 2, 4, 3, 5)
    x, clean = (torch.randn(shape, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    times, shares = pipe.make_scheduler(5, shape).timesteps, []
    for t in times:
        assert torch.allclose(pipe.estimate(x, pipe.prediction_for(x, clean, t), t), clean, atol=1e-4)
        shares.append(pipe.noise_share(t))
    assert shares == sorted(shares, reverse=True) and 1 >= shares[0] > 0.7 > shares[-1] > 0


@families
def test_what_is_drawn_is_held(family, pipe_of, picture):
    """To the end, the clip is the sketch where something was drawn, and the model's own elsewhere."""
    pipe = pipe_of(family, "160x128" if family == "ltx" else "64x64")  # enough cells to be in and out of
    asked, last = short(family, num_inference_steps=4), []
    guidance = ActionGuidance(**DRAWN, hold=0.0)
    clip = pipe.generate(picture, WORDS, mix=[guidance], progress=last.append, **asked)
    assert clip.settings["extensions"]["action_guidance"] == dict(guided_steps=4, sketch=True, arrows=1, still=1)
    with pipe.using([guidance]):
        held = pipe.extensions[0]
        pipe.generate(picture, WORDS, progress=last.append, **asked)
        rough, where = held.rough
    final = [e.payload for e in last if e.stage == "denoise"][-1]
    off, where = (final - rough).abs().mean(2)[:, 1:], where[:, 1:, 0] > 0
    assert 0 < where.float().mean() < 1
    assert off[where].max() < 0.05 * off[~where].mean()


@families
def test_a_drawing_beside_the_other_extensions(family, pipe_of, picture):
    """A level of noise at a time: by default early steps are held; at strength 0, or with nothing drawn, no bit changes."""
    pipe, asked = pipe_of(family), short(family, num_inference_steps=4)
    frames = lambda mix: pipe.generate(picture, WORDS, mix=mix, **asked).frames
    bare, drawn = frames([]), frames(dict(action_guidance=DRAWN))
    assert not np.array_equal(drawn, bare) and np.array_equal(drawn, frames(dict(action_guidance=DRAWN)))
    for absent in ({}, DRAWN | dict(strength=0.0)):
        assert np.array_equal(frames(dict(action_guidance=absent)), bare)
    others = [name for name in extension_names() if name not in ("action_guidance", "action_prior")]
    for other in others:
        both = frames({"action_guidance": DRAWN, other: {}})
        assert np.array_equal(both, drawn) or other not in KEEP_FRAMES
    with pipe.watch("guidance") as trace:
        frames({"action_guidance": DRAWN, **{name: {} for name in others}})
    assert trace.problems == {} and trace.guidance.table()[0]["expected_error"] is None and trace.guidance.plot()
    with pytest.raises(lab.InputError, match="the branch was trained beside the shipped model"):
        frames(dict(action_guidance=DRAWN | dict(way="branch")))
    assert pipe.mix.names == []


@families
def test_everything_at_once_with_a_model_that_reads_pictures(family, pipe_of, picture, clip_model):
    pipe, others = pipe_of(family), [n for n in extension_names() if n != "action_prior"]
    prior = ActionPrior(clip=clip_model, threshold=0.0)
    asked = short(family, num_inference_steps=4)
    both = pipe.generate(picture, "make it move", mix=[prior, *others], **asked)
    named = pipe.generate(picture, "make it move", mix=others, action=both.settings["action"], **asked)
    assert both.settings["decided_by"] == "prior"
    assert np.array_equal(both.frames, named.frames)
    assert set(both.settings["mix"]) == set(extension_names())


@families
def test_kv_cache_computes_keys_and_values_once(family, pipe_of, picture):
    pipe, steps = pipe_of(family), 4
    clip = pipe.generate(picture, WORDS, mix=["kv_cache"], cfg_scale=3.0, **short(family, num_inference_steps=steps))
    said = clip.settings["extensions"]["kv_cache"]["keys_values"]
    assert said["layers"] > 0 and said["hits"] >= said["misses"] > 0
    if family not in ("wan", "wan22"):  # two conditions; two networks
        assert said["hits"] == (steps - 1) * said["misses"]
    assert said["misses"] <= 2 * said["layers"]


@pytest.mark.parametrize(
    "mix",
    [
        {"kv_cache": dict(offload_encoders=True)},
        {"offload": dict(weights="leaf")},
        {"offload": dict(weights="stay", decode_frames=2)},
        {"step_cache": dict(interval=1)},
    ],
    ids=str,
)
@families
def test_options_that_keep_frames(family, mix, pipe_of, picture):
    pipe = pipe_of(family)
    bare, clip = (pipe.generate(picture, WORDS, mix=m, **short(family)).frames for m in ([], mix))
    if family == "svd" and "decode_frames" in str(mix):  # its decoder looks at neighbours: a piece has fewer
        assert clip.shape == bare.shape and not np.array_equal(clip, bare)
    else:
        assert np.abs(clip.astype(int) - bare).max() <= ("decode_frames" in str(mix))
    assert np.array_equal(pipe.generate(picture, WORDS, **short(family)).frames, bare)


# On a GPU, without one


class NoSteps:
    """A schedule of timesteps that are on a device and have no values."""

    init_noise_sigma = 1.0

    def __init__(self, config):
        self.config, self.timesteps = config, [torch.full((), 999.0 - i, device="cuda") for i in range(3)]

    def scale_model_input(self, x, t):
        return x * t

    def step(self, prediction, t, x, **how):
        return (x + t * prediction,)


@families
def test_everything_is_on_the_device(family, checkpoints):
    """By tensors that have a device and no numbers: one that stayed on the CPU cannot be added to the others."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with torch.random.fork_rng(devices=[]), quiet():
        pipe = shadow(str(checkpoints / family), (64, 64), torch.bfloat16, mode)
    asked = dict(num_frames=9, num_inference_steps=3, cfg_scale=3.0)
    run, left = Run(pipe, np.zeros((64, 64, 3), np.uint8), Request(WORDS, **asked)), []
    with mode, torch.inference_mode():
        for module in (m for network in networks(pipe).values() for m in network.modules()):
            for name, p in module.named_parameters(recurse=False):
                module._parameters[name] = torch.nn.Parameter(p.to("cuda"), requires_grad=False)
            module._buffers |= {name: b.to("cuda") for name, b in module.named_buffers(recurse=False)}
        pipe.on, pipe.parts.scheduler = torch.device("cuda"), NoSteps(pipe.parts.scheduler.config)
        pipe.make_scheduler = lambda steps, shape=None: pipe.parts.scheduler
        pipe.sigma, pipe.network_at = lambda t: t, lambda t: pipe.parts.transformer
        pipe.to_numpy = lambda x: left.append(x.device.type) or np.zeros(tuple(x.shape), np.uint8)
        mix = ["kv_cache", "adaptive_patch", "gradient_checkpointing"]
        with Account("cuda"), pipe.using(mix), pipe.making(run):
            run_stages(run)
    assert "cuda" in left and run.latents.device.type == run.prediction.device.type == "cuda"


# Around a run


@families
def test_probes_see_something_and_change_nothing(family, pipe_of, picture):
    pipe = pipe_of(family)
    bare = pipe.generate(picture, WORDS, **short(family)).frames
    with pipe.watch() as trace:
        seen = pipe.generate(picture, WORDS, **short(family)).frames
    assert np.array_equal(seen, bare)
    assert trace.problems == {}
    blind = {name for name, reading in trace.readings.items() if not len(reading)}
    assert set(trace.readings) == set(probe_names()) and blind == {"guidance"}  # which needs a drawing
    assert np.array_equal(pipe.generate(picture, WORDS, **short(family)).frames, bare)


@families
def test_the_last_estimate_and_the_preview(family, pipe_of, picture):
    pipe, steps = pipe_of(family), []
    with pipe.watch("motion"):
        pipe.generate(picture, WORDS, progress=steps.append, **short(family))
    latents = [e.payload for e in steps if e.stage == "denoise"][-1]
    small = pipe.preview(latents, picture)
    assert small.dtype == np.uint8 and small.shape[0] == latents.shape[1] and small.shape[1:3] == latents.shape[3:]


@families
def test_stop_ends_the_run_before_the_next_step(family, pipe_of, picture):
    pipe, stop, seen = pipe_of(family), threading.Event(), []
    bare = pipe.generate(picture, WORDS, **short(family)).frames

    def listen(event):
        seen.append((event.stage, event.step))
        if seen[-1] == ("denoise", 2):
            stop.set()

    with pytest.raises(lab.Stopped, match="2"):
        pipe.generate(picture, WORDS, mix=["kv_cache"], progress=listen, stop=stop, **short(family))
    assert seen[-1] == ("denoise", 2) and pipe.request is None and pipe.mix.names == []
    assert np.array_equal(pipe.generate(picture, WORDS, **short(family)).frames, bare)


@families
def test_a_saved_clip_is_made_again(family, pipe_of, picture, tmp_path):
    pipe = pipe_of(family)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    asked = short(family, seed=7, cfg_scale=2.5, action="run", mix={"kv_cache": {}, "step_cache": dict(warmup=1)})
    clip = pipe.generate(tmp_path / "picture.png", WORDS, **asked)
    path = clip.save(tmp_path / "clip.mp4")
    saved = Clip.load(path)
    assert saved.frames.shape == clip.frames.shape and saved.settings == clip.settings
    assert saved.settings["backend"] == "diffusers" and saved.settings["family"] == pipe.family
    assert saved.settings["licence"] == "apache-2.0" and len(saved.settings["weights_sha256"]) == 64
    assert np.array_equal(pipe.rerun(path).frames, clip.frames)
    assert pipe.mix.names == []


def test_other_weights_do_not_make_a_clip_again(checkpoints, pipe_of, picture, tmp_path):
    other = load(tiny_checkpoint("ltx", tmp_path / "other", seed=1))
    clip = pipe_of("ltx").generate(picture, WORDS, **short("ltx"))
    assert load(checkpoints / "ltx").weights_sha256 == pipe_of("ltx").weights_sha256 != other.weights_sha256
    with pytest.raises(lab.InputError, match="was made with weights_sha256"):
        other.rerun(clip, image=picture)


def test_weights_of_a_variant_are_other_weights(checkpoints, picture, tmp_path):
    """What a clip names are the files that were read, not those beside them."""
    both = shutil.copytree(checkpoints / "ltx", tmp_path / "both")
    with quiet():
        random_pipeline("ltx", 1).save_pretrained(both, variant="fp16", safe_serialization=True)
    plain, half = load(both), load(both, variant="fp16")
    assert plain.weights_sha256 == load(checkpoints / "ltx").weights_sha256 != half.weights_sha256
    clips = [p.generate(picture, WORDS, **short("ltx")) for p in (plain, half)]
    assert clips[1].settings["variant"] == "fp16" and "variant" not in clips[0].settings
    assert not np.array_equal(clips[0].frames, clips[1].frames)
    for path in both.glob("*/*.safetensors"):
        path.unlink() if path.stem.count(".") == 0 else None
    says("has weights of a variant only .*name it", lambda: load(both))
    assert load(both, variant="fp16").weights_sha256 == half.weights_sha256


def test_a_folder_may_be_a_path(checkpoints, picture, tmp_path):
    with quiet():
        pipe = lab.load_pipeline("diffusers", model=checkpoints / "ltx", dtype="fp32", size=(64, 64), device=DEVICE)
    clip = pipe.generate(picture, WORDS, **short("ltx"))
    assert Clip.load(clip.save(tmp_path / "clip.mp4")).settings["model"] == str(checkpoints / "ltx")


# Bad input


def edit(file: str, **changes):
    """How to change a JSON file."""

    def damage(folder: Path) -> None:
        known = json.loads((folder / file).read_text()) | changes
        (folder / file).write_text(json.dumps({k: v for k, v in known.items() if v is not None}))

    return damage


def file_of(folder: Path, part: str) -> Path:
    return next((folder / part).glob("*.safetensors"))


def on_bytes(part: str, change):
    """How to damage a file of weights."""
    return lambda folder: file_of(folder, part).write_bytes(change(file_of(folder, part).read_bytes()))


def on_weights(part: str, change):
    """How to change the weights of a part."""

    def damage(folder: Path) -> None:
        weights = load_file(path := file_of(folder, part))
        change(weights, sorted(weights, key=lambda k: -weights[k].ndim)[0])
        save_file(weights, path, metadata={"format": "pt"})

    return damage


def renamed(part: str):
    """Weights in a format that can hold code."""
    return lambda folder: file_of(folder, part).rename(folder / part / "diffusion_pytorch_model.bin")


lost = lambda weights, name: weights.pop(name)
reshaped = lambda weights, name: weights.update({name: torch.zeros(3, 3)})
UNREADABLE = [
    (edit("model_index.json", _class_name="FluxPipeline"), "is a FluxPipeline, which the lab cannot drive"),
    (edit("model_index.json", _class_name=None), "names no pipeline class"),
    (edit("model_index.json", vae=["mine", "VAE"]), "mine is not one of the libraries"),
    (edit("model_index.json", text_encoder=["transformers", "NoModel"]), "is a NoModel, which transformers"),
    (lambda f: (f / "model_index.json").unlink(), "has no model_index.json"),
    (lambda f: (f / "model_index.json").write_text("{no"), "not a valid JSON file"),
    (lambda f: (f / "vae" / "config.json").write_text("{no"), "not a valid JSON file"),
    (lambda f: shutil.rmtree(f / "vae"), "has no folder vae"),
    (lambda f: shutil.rmtree(f / "tokenizer"), "has no folder tokenizer"),
    (lambda f: (f / "tokenizer" / "tokenizer.json").unlink(), "tokenizer.* has no vocabulary"),
    (renamed("transformer"), "transformer has no .safetensors .*other formats can hold code"),
    (renamed("text_encoder"), "text_encoder has no .safetensors"),
    (on_bytes("transformer", lambda b: b[:-100]), "could not be read"),
    (on_bytes("text_encoder", lambda b: b[:-100]), "could not be read"),
    (on_bytes("vae", lambda b: b"\xff" * 50 + b[50:]), "could not be read"),
    (on_bytes("vae", lambda b: b""), "could not be read"),
    (on_weights("vae", lost), "vae lacks 1 weights"),
    (on_weights("transformer", lost), "transformer lacks 1 weights"),
    (on_weights("text_encoder", lost), "text_encoder lacks 1 weights"),
    (on_weights("image_encoder", lost), "image_encoder lacks 1 weights"),
    (on_weights("vae", reshaped), "could not be read.* expected shape"),
    (on_weights("text_encoder", reshaped), "text_encoder lacks 1 weights or has them in another shape"),
]


def says(match: str, work) -> None:
    """One sentence, soon."""
    start = time.perf_counter()
    with pytest.raises(lab.InputError, match=match) as error:
        work()
    assert time.perf_counter() - start < 3
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


@pytest.mark.parametrize(("damage", "message"), UNREADABLE, ids=[m for _, m in UNREADABLE])
def test_a_folder_that_will_not_do_is_one_sentence(damage, message, checkpoints, tmp_path):
    folder = shutil.copytree(checkpoints / "wan", tmp_path / "wan")
    damage(folder)
    says(message, lambda: load(folder))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (dict(model=""), "which model. give model="),
        (dict(model="no/such-model"), "no model 'no/such-model': no such folder here"),
        (dict(model="."), "has no model_index.json"),
        (dict(size="65x64"), "multiples of 16 pixels, got 65x64 .*the nearest is 64x64"),
        (dict(size="8x8"), "the nearest is 16x16"),
        (dict(size="big"), "a size is width x height in pixels, such as '832x480', got 'big'"),
        (dict(dtype="fp8"), "unknown dtype 'fp8'"),
        (dict(device="gpu"), "'gpu' is not a device"),
        (dict(modle="x"), "unknown option of diffusers 'modle'; did you mean 'model'"),
    ],
    ids=str,
)
def test_a_wrong_option_is_one_sentence(asked, message, checkpoints):
    says(message, lambda: load(**(dict(model=checkpoints / "wan") | asked)))


@pytest.mark.parametrize(
    ("family", "asked", "message"),
    [
        ("ltx", dict(num_inference_steps=1), "ltx needs at least 2 denoising steps, got 1"),
        ("wan", dict(num_frames=1), "num_frames must be between 2 and"),
        ("wan", dict(cfg_scale=-1), "cfg_scale must be between"),
        ("wan", dict(action="fly"), "unknown action 'fly'"),
        ("wan", dict(mix=["kv_cahce"]), "unknown extension 'kv_cahce'; did you mean 'kv_cache'"),
        ("wan", dict(mix=["action_prior"]), "name a CLIP model"),
    ],
    ids=str,
)
def test_a_wrong_request_is_one_sentence(family, asked, message, pipe_of, picture):
    pipe = pipe_of(family)
    says(message, lambda: pipe.generate(picture, WORDS, **asked))
    assert pipe.request is None and pipe.mix.names == []
    assert len(pipe.generate(picture, WORDS, **short(family)).frames) == FRAMES[family]


@pytest.mark.parametrize("family", ["i2vgen_xl", "svd", "wan", "wan22", "wan22_5b"])
def test_one_step_is_enough_elsewhere(family, pipe_of, picture):
    clip = pipe_of(family).generate(picture, WORDS, num_inference_steps=1, num_frames=2)
    assert len(clip.frames) == 2 and clip.frames.std() > 5
