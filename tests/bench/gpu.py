"""What the lab does on a GPU: `python tests/bench/gpu.py --out gpu.jsonl`, with nothing else on it.

Weights are random at the models' full size, so nothing is downloaded. `--checks` names some: `wan-14b` wants most, about
80 GB while it is made, for weights are drawn in fp32. Each check is a process of its own, and each row a line of JSON that
is written when it is measured; the last line counts the checks that failed or have a row that is not `ok`, and the exit
code says whether any did. `--tiny` runs everything at a small size and on any device, to see that it runs; there is no
memory to compare on a CPU.

- `shipped`: clips of the shipped model against the CPU's in grey levels, in two precisions, with every extension; the
  same clip twice; a stop; what probes change; a few steps of teaching; the panel.
- `memory`: the highest level of the allocator in each part of a clip, against `lab.forecast`: `ratio` is forecast by
  measured, of the whole, and `ratios` of the parts. They should lie within 10 %.
- `overhead`: seconds of a clip by the lab as a share of diffusers' own pipeline: the same parts, picture, seed and
  steps, in turns; it should be 2 % at most.
- `speed`: seconds of a clip with an extension as a share of one without.

Forecasts are made by the CPU. `--forecasts FILE` keeps them, so that they can be made beforehand on another machine
(`--only-forecasts`).
"""

import argparse
import gc
import inspect
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from backends import WORDS, diffusers_call
from PIL import Image
from transformers import CLIPImageProcessor

import i2v_lab as lab
from i2v_lab.backends.loading import FAMILIES, canvas_of
from i2v_lab.backends.shapes import FULL, component, processor_of
from i2v_lab.backends.tiny import FAMILIES_TINY, quiet, tiny_checkpoint
from i2v_lab.forecasting.fake import kept_parts
from i2v_lab.forecasting.forecast import PARTS, forecast
from i2v_lab.pipeline.devices import DTYPES
from i2v_lab.pipeline.pipeline import Pipeline
from i2v_lab.pipeline.registry import extension_names

ROOT = Path(__file__).resolve().parents[2]
ARTICLE = {  # the rows of the table in `forecasting/20_forecast.ipynb`
    "all at once": {"offload": dict(weights="stay", decode_frames=16)},
    "none": None,
    "kv_cache": {"kv_cache": {}},
    "encoders put away": {"kv_cache": dict(offload_encoders=True)},
    "block by block": {"offload": dict(weights="block")},
}
BARE = {"none": None}
CHUNKS = BARE | {"7 frames, block by block": {"offload": dict(weights="block", decode_frames=7)}}
CASES = {  # name: model, size, frames, precision, mixes
    "i2vgen-xl": ("i2vgen-xl", "512x512", 16, "fp16", ARTICLE),
    "i2vgen-xl-large": ("i2vgen-xl", "1280x704", 16, "fp16", BARE),
    "svd": ("svd", "1024x576", 14, "fp16", CHUNKS),
    "svd-xt": ("svd", "1024x576", 25, "fp16", BARE),
    "ltx": ("ltx", "704x512", 121, "bf16", BARE | {"encoders put away": {"kv_cache": dict(offload_encoders=True)}}),
    "wan-1.3b": ("wan-1.3b", "832x480", 81, "bf16", BARE | {"block by block": {"offload": dict(weights="block")}}),
    "wan-14b": ("wan-14b", "832x480", 81, "bf16", BARE),
}
SPEED = BARE | {name: {name: {}} for name in ("kv_cache", "step_cache", "offload")}
TIMED = {"i2vgen-xl": SPEED, "ltx": SPEED}
TINY = {"i2vgen_xl": ("64x64", 5), "svd": ("64x64", 5), "ltx": ("64x64", 9), "wan": ("64x64", 5)}
STEPS, TIMED_STEPS = 3, 10
Row = dict[str, Any]


# Models with random weights


def built(kind: str, arguments: Any, dtype: torch.dtype, device: str) -> torch.nn.Module:
    "A network at its full size, in the precision in which it would be read."
    network = component(kind, arguments, device)
    kept = kept_parts(network, dtype)
    for name, p in network.named_parameters():
        if p.is_floating_point() and kept.isdisjoint(name.split(".")):
            p.data = p.data.to(dtype)
    return network.requires_grad_(False)


def pipeline_of(case: str, args: argparse.Namespace) -> tuple[Pipeline, int]:  # and how many frames
    "A pipeline of a case: with tokenizer and scheduler of a tiny one."
    model, size, frames, precision, _ = CASES[case]
    family, dtype = FULL[model][0], DTYPES[precision]
    cls = FAMILIES[family]
    if args.tiny:
        size, frames = TINY[family]
        with tempfile.TemporaryDirectory() as home, quiet():
            folder = tiny_checkpoint(family, Path(home) / family)
            pipe = lab.load_pipeline("diffusers", model=folder, size=size, dtype=precision, device=args.device)
        return pipe, frames
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(0)
        own = FAMILIES_TINY[family]()
        long = {name: torch.float32 for name in cls.float32_parts}
        made = {n: built(*kind, long.get(n, dtype), args.device) for n, kind in FULL[model][1].items()}
        eye = processor_of(made.get("image_encoder"), CLIPImageProcessor)
        known = own.components | made | (dict(feature_extractor=eye, image_processor=eye) if eye else {})
        parts = type(own)(**{k: v for k, v in known.items() if k in inspect.signature(type(own)).parameters})
    pipe = cls(parts, size=canvas_of(size), device=args.device)
    pipe.settled = False
    return pipe, frames


def picture_for(pipe: Pipeline) -> np.ndarray:  # uint8 `[H,W,3]`
    "Smooth noise on the clip's own canvas, as a forecast has it."
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize(pipe.size[::-1], Image.Resampling.BICUBIC))


# Memory


def forecast_of(case: str, mix_name: str, args: argparse.Namespace) -> dict[str, Any]:  # as `Forecast.to_dict`
    "A forecast; made once, if there is a file to keep it in."
    model, size, frames, precision, mixes = CASES[case]
    key, known = f"{case}, {mix_name}{', tiny' * args.tiny}", {}
    if args.forecasts is not None and args.forecasts.is_file():
        known = json.loads(args.forecasts.read_text())
    if key not in known:
        with tempfile.TemporaryDirectory() as home, quiet():
            if args.tiny:
                family = FULL[model][0]
                model, (size, frames) = str(tiny_checkpoint(family, Path(home) / family)), TINY[family]
            said = forecast(model, size, frames, mixes[mix_name], precision, steps=STEPS, device="cuda")
        known[key] = said.to_dict() | dict(model=CASES[case][0])
        if args.forecasts is not None:
            args.forecasts.write_text(json.dumps(known, indent=1))
    return known[key]


def highest(pipe: Pipeline, device: torch.device, make: Callable[[Callable], Any]) -> dict[str, int] | None:  # bytes
    "The highest level in each part of a clip, weights and all; None: the device does not say."
    if device.type != "cuda":
        make(lambda event: None)
        return None
    peaks = dict.fromkeys(PARTS, 0)

    def hear(event) -> None:
        part = next(name for name, stages in PARTS.items() if event.stage in stages)
        torch.cuda.synchronize(device)
        peaks[part] = max(peaks[part], torch.cuda.max_memory_allocated(device))
        torch.cuda.reset_peak_memory_stats(device)

    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    make(hear)
    return peaks


def memory(case: str, args: argparse.Namespace) -> Iterator[Row]:
    "Measured and forecast, mix by mix."
    pipe, frames = pipeline_of(case, args)
    device, picture = torch.device(args.device), picture_for(pipe)
    asked = dict(num_inference_steps=STEPS, num_frames=frames)
    for name, mix in CASES[case][-1].items():
        told = forecast_of(case, name, args)
        with pipe.using(mix):
            start = time.perf_counter()
            pipe.generate(picture, WORDS, **asked)  # whatever is made at first
            first, start = time.perf_counter() - start, time.perf_counter()
            found = highest(pipe, device, lambda hear: pipe.generate(picture, WORDS, progress=hear, **asked))
            seconds = dict(first=round(first, 2), clip=round(time.perf_counter() - start, 2), steps=STEPS)
        said = {part: sum(p[k] for k in ("weights_bytes", "activations_bytes")) for part, p in told["parts"].items()}
        row = dict(mix=name, size=told["size"], frames=told["frames"], dtype=told["dtype"], forecast=said, **seconds)
        if found is not None:
            ratios = {part: round(said[part] / found[part], 3) for part in PARTS}
            ratio = round(max(said.values()) / max(found.values()), 3)
            row |= dict(measured=found, ratios=ratios, ratio=ratio, ok=0.9 <= ratio <= 1.1)
        yield row


# Time


def timed(work: Callable[[], Any], device: torch.device) -> float:  # seconds
    "How long it takes, until the device is done."
    finish = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    finish()
    start = time.perf_counter()
    work()
    finish()
    return time.perf_counter() - start


def overhead(case: str, args: argparse.Namespace) -> Iterator[Row]:
    "The lab and diffusers, in turns."
    pipe, frames = pipeline_of(case, args)
    picture, device, steps = picture_for(pipe), torch.device(args.device), STEPS if args.tiny else TIMED_STEPS
    asked = dict(seed=3, num_inference_steps=steps, num_frames=frames, cfg_scale=3.0)
    mine = lambda: pipe.generate(picture, WORDS, **asked).frames
    works = dict(lab=mine, diffusers=diffusers_call(pipe, picture, frames, steps))
    clips = {name: work() for name, work in works.items()}
    apart = np.abs(clips["lab"].astype(int) - clips["diffusers"])
    found = {name: [] for name in works}
    for turn in range(1 if args.tiny else args.turns):
        for name in list(works)[:: 1 if turn % 2 else -1]:
            found[name].append(timed(works[name], device))
    median = {name: float(np.median(seconds)) for name, seconds in found.items()}
    ratios = [a / b for a, b in zip(found["lab"], found["diffusers"])]
    share = median["lab"] / median["diffusers"]
    yield dict(
        ok=args.tiny or (share <= 1.02 and apart.max() <= 1),  # nothing is told by times of so small networks
        ratio=round(share, 4),
        low=round(min(ratios), 4),
        high=round(max(ratios), 4),
        seconds={name: round(s, 3) for name, s in median.items()},
        largest_difference=int(apart.max()),
        spread=round(float(clips["lab"].std()), 1),  # of grey levels; 0: there was nothing to compare
        frames=frames,
        size=list(pipe.size[::-1]),
        steps=steps,
    )


def speed(case: str, args: argparse.Namespace) -> Iterator[Row]:
    "Clips with an extension and without."
    pipe, frames = pipeline_of(case, args)
    picture, device, steps = picture_for(pipe), torch.device(args.device), STEPS if args.tiny else TIMED_STEPS
    asked = dict(num_inference_steps=steps, num_frames=frames)
    bare = None
    for name, mix in TIMED[case].items():
        with pipe.using(mix):
            make = lambda: pipe.generate(picture, WORDS, **asked)
            clip = make()
            seconds = min(timed(make, device) for _ in range(1 if args.tiny else 3))
        bare = bare or (seconds, clip.frames)
        apart = int(np.abs(clip.frames.astype(int) - bare[1]).max())
        row = dict(mix=name, seconds=round(seconds, 3), share=round(seconds / bare[0], 3), largest_difference=apart)
        yield row | dict(frames=frames, size=list(pipe.size[::-1]), steps=steps)


# The shipped model


def shipped(case: str, args: argparse.Namespace) -> Iterator[Row]:
    "Clips of the shipped model."
    picture = ROOT / "data" / "photos" / "scikit-image__coffee.jpg"
    asked = dict(prompt="the camera pans left", seed=1, num_inference_steps=4, num_frames=8)
    load = lambda device, dtype: lab.load_pipeline("motiondit", device=device, dtype=dtype)
    cpu = load("cpu", "fp32").generate(picture, **asked).frames.astype(int)
    far = lambda frames: dict(
        largest=int(np.abs(frames - cpu).max()), mean=round(float(np.abs(frames - cpu).mean()), 3)
    )
    own = [name for name in extension_names() if name not in ("offload",)]
    for dtype in ("fp32", "bf16"):
        pipe = load(args.device, dtype)
        bare = pipe.generate(picture, **asked).frames
        yield dict(what="against the CPU's fp32", dtype=dtype, spread=round(float(cpu.std()), 1), **far(bare))
        yield dict(what="the same twice", dtype=dtype, ok=bool((pipe.generate(picture, **asked).frames == bare).all()))
        for mix in (*([name] for name in own), own):
            made = pipe.generate(picture, mix=mix, **asked).frames
            apart = int(np.abs(made.astype(int) - bare).max())
            exact = all(part.cls.exact for part in lab.Mix(mix).parts)
            yield dict(what="mix", mix=mix, dtype=dtype, from_bare=apart, ok=apart == 0 or not exact)
        with pipe.watch() as trace:
            seen = pipe.generate(picture, **asked).frames
        fine = bool((seen == bare).all()) and not trace.problems and all(trace.readings.values())
        yield dict(what="probes", dtype=dtype, ok=fine, problems=trace.problems, heard=sorted(trace.readings))
        yield dict(what="stop", dtype=dtype, ok=stopped_after_two(pipe, picture, asked))


def stopped_after_two(pipe: Pipeline, picture: Path, asked: dict) -> bool:
    "Whether a stop ends the clip, and leaves the pipeline fit for the next one."
    stop, seen = threading.Event(), []

    def hear(event) -> None:
        seen.append((event.stage, event.step))
        if seen[-1] == ("denoise", 2):
            stop.set()

    try:
        pipe.generate(picture, progress=hear, stop=stop, **asked)
    except lab.Stopped:
        return seen[-1] == ("denoise", 2) and len(pipe.generate(picture, **asked).frames) == asked["num_frames"]
    return False


def taught(case: str, args: argparse.Namespace) -> Iterator[Row]:
    "A lesson of a few steps, and a clip of what it gave."
    from i2v_lab.training.teach import Lesson, teach_motion, tilt_up

    pipe = lab.load_pipeline("motiondit", device=args.device, dtype="fp32")
    ways = ("tilt up", "look up", "the camera tilts up", "up to the sky")
    words, lesson = [f"{way}{more}" for way in ways for more in ("", " slowly")], Lesson(steps=3, frames=8, texts=40)
    start = time.perf_counter()
    out = teach_motion("tilt_up", tilt_up, words, pipe=pipe, lesson=lesson)
    clip = pipe.generate(ROOT / "data" / "photos" / "scikit-image__coffee.jpg", "tilt up", mix=[out.extension])
    losses = [float(loss) for _, loss in out.losses]
    fine = bool(np.isfinite(losses).all()) and len(losses) == 3 and len(clip.frames) > 1
    yield dict(ok=fine, losses=[round(loss, 4) for loss in losses], seconds=round(time.perf_counter() - start, 1))


def panel(case: str, args: argparse.Namespace) -> Iterator[Row]:
    "A run of the panel."
    pipe = lab.load_pipeline("motiondit", device=args.device, dtype="fp32")
    shown = lab.Lab(pipe)
    clip = shown.run(block=True)
    shown.needs.close()
    yield dict(
        ok=clip is not None and len(clip.frames) > 1,
        says=shown.status.value,
        needs="GiB" in str(shown.needs.widget.value),
    )


# All of them

CHECKS: dict[str, tuple[Callable, str]] = {work.__name__: (work, "") for work in (shipped, taught, panel)}
CHECKS |= {f"memory {case}": (memory, case) for case in CASES}
CHECKS |= {f"overhead {case}": (overhead, case) for case in TIMED}
CHECKS |= {f"speed {case}": (speed, case) for case in TIMED}


def one(name: str, args: argparse.Namespace) -> int:  # 0: all is as it should be
    "One check, in this process."
    (work, case), fine = CHECKS[name], True
    try:
        for row in work(case, args):
            say(args.out, dict(check=name, **row))
            fine = fine and row.get("ok", True)
    except Exception as e:
        say(args.out, dict(check=name, failed=f"{type(e).__name__}: {' '.join(str(e).split())[:400]}"))
        traceback.print_exc()
        return 1
    return 0 if fine else 1


def say(out: Path | None, row: Row) -> None:
    "A line of JSON, at once."
    line = json.dumps(row)
    print(line, flush=True)
    if out is not None:
        with out.open("a") as file:
            file.write(line + "\n")


def each(names: list[str], args: argparse.Namespace) -> int:  # how many failed
    "Every check in a process of its own."
    failed = 0
    for name in names:
        command = [sys.executable, __file__, *sys.argv[1:], "--one", name]
        start = time.perf_counter()
        try:
            code = subprocess.run(command, timeout=args.seconds, cwd=ROOT).returncode
        except subprocess.TimeoutExpired:
            code = "took too long"
        say(args.out, dict(check=name, code=code, wall_seconds=round(time.perf_counter() - start, 1)))
        failed += code != 0
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", nargs="+", metavar="NAME", choices=list(CHECKS), default=list(CHECKS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tiny", action="store_true", help="a small size, to see that it runs")
    parser.add_argument("--turns", type=int, default=5, help="of an overhead")
    parser.add_argument("--seconds", type=float, default=600, help="after so long a check has failed")
    parser.add_argument("--out", type=Path, help="a file to which each row is added")
    parser.add_argument("--forecasts", type=Path, help="a file that keeps the forecasts")
    parser.add_argument("--only-forecasts", action="store_true", help="fill that file, and nothing else")
    parser.add_argument("--one", choices=list(CHECKS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out, args.forecasts = (path and path.resolve() for path in (args.out, args.forecasts))
    if args.only_forecasts:
        for case in (c for work, c in map(CHECKS.get, args.checks) if work is memory):
            for mix in CASES[case][-1]:
                told = forecast_of(case, mix, args)
                print(case, mix, f"{told['peak_bytes'] / 2**30:.2f} GiB", flush=True)
        return
    if args.one:
        raise SystemExit(one(args.one, args))
    if args.device == "cpu" and not args.tiny:
        parser.error("there is no GPU here; --tiny runs on any device")
    gpu = torch.cuda.get_device_name() if args.device.startswith("cuda") else None
    say(args.out, dict(device=gpu or args.device, torch=torch.__version__, tiny=args.tiny, processors=os.cpu_count()))
    failed = each(args.checks, args)
    say(args.out, dict(checks=len(args.checks), failed=failed))
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
