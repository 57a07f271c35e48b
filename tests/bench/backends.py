"""What the adapter of diffusers costs, and forecasts at full size: `python tests/bench/backends.py`, on a quiet machine.

Prints one JSON object (about ten minutes; `--quick`: one turn at a small size, about one, to see that it runs).

- `adapter`: seconds of a clip by the lab's five stages as a share of diffusers' own pipeline called directly: the same
  parts, picture, seed and steps, and frames that are compared. The networks are those of `tiny_checkpoint` with random
  weights at a larger size (each row says which), so that a clip takes seconds and not Python's own time alone. The
  variants are run in turns; the ratio is that of the medians, with the lowest and highest of the ratios within a turn;
  `quickest` is that of the quickest, which a busy machine disturbs least, for it can only add; and `cpu_ratio` is the
  ratio of the medians of the process' own CPU time. The C library is told to keep what is given back, or half of the
  time of so small networks is that of the kernel, which clears pages. `outside`: the share of a
  clip's CPU time that is spent outside the networks, by the lab and by diffusers; their difference is what the adapter
  adds, and it can be told on a busy machine, too.
- `kv_cache`: a clip with the cache as a share of one without, of a picture and a prompt that it has not seen (`new`),
  and of ones that it has (`repeat`).
- `forecast`: seconds and the most memory of a forecast at a model's full size, each in a process of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image

import i2v_lab as lab
from i2v_lab.backends.tiny import quiet, tiny_checkpoint
from i2v_lab.pipeline.pipeline import Pipeline

ROOT = Path(__file__).resolve().parents[2]
WORDS, SEED, STEPS = "a dog runs", 3, 5
CLIPS = {  # width, height, frames
    "i2vgen_xl": (256, 256, 5),
    "svd": (256, 192, 4),
    "wan": (256, 192, 9),
    "wan22": (256, 192, 9),
    "wan22_5b": (512, 384, 9),
    "ltx": (512, 384, 33),
}
KEEP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_TOP_PAD_": str(2**28)}  # of glibc
QUICK = dict.fromkeys(CLIPS, (64, 64, 5)) | {"ltx": (64, 64, 9)}
FULL = {  # size, frames
    "i2vgen-xl": ("512x512", 16),
    "svd": ("1024x576", 25),
    "wan-1.3b": ("832x480", 81),
    "wan-14b": ("832x480", 81),
    "ltx": ("704x512", 121),
}
FORECAST = """
import json, resource, sys, time
from i2v_lab.forecasting.forecast import forecast
start = time.perf_counter()
told = forecast(sys.argv[1], sys.argv[2], int(sys.argv[3]), dtype="bf16")
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
out = dict(seconds=round(time.perf_counter() - start, 1), process_gigabytes=round(most / 1e9, 2), says=told.sentence())
print(json.dumps(out))
"""


def diffusers_call(pipe: Pipeline, picture: np.ndarray, frames: int, steps: int = STEPS) -> Callable[[], np.ndarray]:
    "The same clip in diffusers' own hands."
    pipe.settle()
    own, (high, wide) = pipe.parts, pipe.size
    asked = dict(height=high, width=wide, num_frames=frames, num_inference_steps=steps, output_type="np")
    asked["max_guidance_scale" if pipe.family == "svd" else "guidance_scale"] = 3.0
    if (rate := {"i2vgen_xl": "target_fps", "svd": "fps", "ltx": "frame_rate"}.get(pipe.family)) is not None:
        asked[rate] = int(pipe.defaults["fps"])
    if pipe.reads_words:
        asked["prompt"] = WORDS
    if pipe.family == "i2vgen_xl":
        own.text_encoder.__dict__["text_model"] = own.text_encoder  # diffusers asks for it, transformers 5 has it not
    own.set_progress_bar_config(disable=True)

    def call() -> np.ndarray:  # uint8 `[T,H,W,3]`, as the lab's
        generator = torch.Generator().manual_seed(SEED)
        with drawn_by(generator) if pipe.family == "i2vgen_xl" else nullcontext():
            video = own(image=Image.fromarray(picture), generator=generator, **asked).frames[0]
        return (255 * video).round().astype(np.uint8)

    return call


def drawn_by(generator: torch.Generator):
    "I2VGen-XL's VAE takes no generator and draws on its own device; here from one, so that frames can be compared."
    sample = lambda found, generator=generator: (
        found.mean + found.std * torch.randn(found.mean.shape, generator=generator).to(found.mean)
    )
    return patch.object(DiagonalGaussianDistribution, "sample", sample)


def seconds_of(work: Callable) -> tuple[float, float, np.ndarray]:
    "How long it takes, how much of the CPU's time, and the frames."
    start, busy = time.perf_counter(), time.process_time()
    frames = work()
    return time.perf_counter() - start, time.process_time() - busy, frames


def share_outside(pipe: Pipeline, work: Callable) -> float:
    "The share of CPU time that no network takes; the smallest of three."
    inside, networks = [0.0], [m for m in pipe.parts.components.values() if isinstance(m, torch.nn.Module)]

    def clocked(call: Callable) -> Callable:
        def timed(*given, **named):
            start = time.process_time()
            try:
                return call(*given, **named)
            finally:
                inside[0] += time.process_time() - start

        return timed

    found = []
    with ExitStack() as stack:
        for network in networks:  # an autoencoder is not called as a whole
            for name in ("encode", "decode") if hasattr(network, "decode") else ("forward",):
                stack.enter_context(patch.object(network, name, clocked(getattr(network, name))))
        for _ in range(3):
            inside[0], start = 0.0, time.process_time()
            work()
            found.append(1 - inside[0] / (time.process_time() - start))
    return round(min(found), 4)


def family_row(folder: Path, size: tuple[int, int, int], turns: int) -> tuple[dict, dict]:
    "Adapter and cache, of one family."
    wide, high, frames = size
    with quiet():
        pipe = lab.load_pipeline("diffusers", model=str(folder), dtype="fp32", size=(wide, high), device="cpu")
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(noise).resize((320, 240), Image.Resampling.BICUBIC))
    asked = dict(seed=SEED, num_inference_steps=STEPS, num_frames=frames, cfg_scale=3.0)
    mine = lambda: pipe.generate(picture, WORDS, **asked).frames
    theirs, found = diffusers_call(pipe, picture, frames), {n: [] for n in ("lab", "diffusers", "new", "repeat")}
    for turn in range(turns + 1):
        order = (("lab", mine), ("diffusers", theirs))[:: 1 if turn % 2 else -1]  # neither is always the first
        rows = {name: seconds_of(work) for name, work in order}
        with pipe.using(["kv_cache"]):
            rows |= {name: seconds_of(mine) for name in ("new", "repeat")}
        apart = np.abs(rows["lab"][-1].astype(int) - rows["diffusers"][-1]).max()
        if apart > 1 or not all(np.array_equal(rows[n][-1], rows["lab"][-1]) for n in ("new", "repeat")):
            raise SystemExit(f"{folder.name}: the frames are not the same, so the times cannot be compared")
        for name, (*seconds, _) in rows.items():
            found[name] += [seconds] if turn else []  # the first is a warm-up
    median = {name: np.median(seconds, axis=0) for name, seconds in found.items()}
    ratios = [a / b for (a, _), (b, _) in zip(found["lab"], found["diffusers"])]
    share, cpu_share = (round(float(r), 4) for r in median["lab"] / median["diffusers"])
    best = {name: min(found[name])[0] for name in ("lab", "diffusers")}
    adapter = dict(ratio=share, low=round(min(ratios), 4), high=round(max(ratios), 4), cpu_ratio=cpu_share)
    adapter["quickest"] = round(best["lab"] / best["diffusers"], 4)
    adapter |= dict(seconds=round(float(median["lab"][0]), 2), largest_difference=int(apart))
    adapter["outside"] = dict(lab=share_outside(pipe, mine), diffusers=share_outside(pipe, theirs))
    adapter |= dict(clip=f"{wide}x{high}, {frames} frames, {STEPS} steps, guided, tiny networks")
    cache = {name: round(float(median[name][0] / median["lab"][0]), 3) for name in ("new", "repeat")}
    cache |= {f"{name}_cpu": round(float(median[name][1] / median["lab"][1]), 3) for name in ("new", "repeat")}
    return adapter, cache


def full_size(model: str) -> dict:
    "A forecast in a process of its own."
    command = [sys.executable, "-c", FORECAST, model, FULL[model][0], str(FULL[model][1])]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return json.loads(done.stdout) | dict(clip=f"{FULL[model][0]}, {FULL[model][1]} frames")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one turn at a small size; i2vgen-xl's forecast only")
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--families", nargs="+", choices=list(CLIPS), default=list(CLIPS))
    parser.add_argument("--no-forecast", action="store_true", help="leave out the forecasts at full size")
    args = parser.parse_args()
    if not KEEP.keys() <= os.environ.keys():  # it is read when a process begins
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEEP)
    load_average = round(os.getloadavg()[0], 2)
    sizes, turns = (QUICK, 1) if args.quick else (CLIPS, args.turns)
    out = dict(adapter={}, kv_cache={}, forecast={})
    with tempfile.TemporaryDirectory() as home:
        for family in args.families:
            folder = tiny_checkpoint(family, Path(home) / family)
            out["adapter"][family], out["kv_cache"][family] = family_row(folder, sizes[family], turns)
    models = [] if args.no_forecast else ["i2vgen-xl"] if args.quick else list(FULL)
    out["forecast"] = {model: full_size(model) for model in models}
    out |= dict(turns=turns, threads=torch.get_num_threads(), load_average=load_average)
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
