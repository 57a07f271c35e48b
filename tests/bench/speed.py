"""Time and memory of the shipped model: `python tests/bench/speed.py` (minutes; `--quick`: under one, writes nothing).

Prints each figure and writes them all to `i2v_lab/weights/speed.json`, and the curves of `curves.py` to
`nbs/images/speed.png`. What is compared is measured in turns (A, B, A, B, ...), so that a busy minute of the machine hits
all alike: a ratio is the median of the ratios within each turn. Import, first clip and memory get fresh processes.
"""

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import curves
import cv2
import numpy as np
import torch
import torch.nn.functional as F
from curves import FRAMES, WALK, picture_of, staged
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

import i2v_lab as lab
from i2v_lab.pipeline.pipeline import Pipeline
from i2v_lab.pipeline.stages import Conditioning

ROOT = Path(__file__).resolve().parents[2]
CAMERA, FULL_STEPS, SEED = "the camera zooms in", 40, 0
FIRST = """
import json, resource, time
start = time.perf_counter()
import numpy as np
import i2v_lab as lab
yy, xx = np.mgrid[:512, :512]
picture = np.stack([(xx // 2) % 256, (yy // 2) % 256, (xx * yy // 512) % 256], -1).astype(np.uint8)
pipe = lab.load_pipeline()
clip = pipe.generate(picture, "the camera zooms in slowly", num_frames=16)
first = time.perf_counter() - start
pipe.generate("data/photos/gcompris-qt-data__erase_horse.jpg", "the horse runs", num_frames=16)  # memory: cut out and fill too
print(json.dumps(dict(first=first, peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)))
"""


load = functools.cache(lab.load_pipeline)


def run(code: str) -> str:
    "Run Python in a fresh process."
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout.strip()


def spread(values: list[float]) -> dict:
    "Median and range."
    return dict(
        median=round(statistics.median(values), 3), low=round(min(values), 3), high=round(max(values), 3), n=len(values)
    )


def in_turns(variants: dict[str, Callable], turns: int, enough: float = 60.0) -> dict[str, list[float]]:
    "Seconds of each variant, one after the other in every turn; warm up before. No new turn after `enough` seconds."
    seconds, begun = {name: [] for name in variants}, time.perf_counter()
    for turn in range(turns):
        if turn and time.perf_counter() - begun > enough:
            break
        for name, variant in variants.items():
            start = time.perf_counter()
            variant()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def times_faster(slow: list[float], fast: list[float]) -> float:
    "How many times faster, turn by turn."
    return round(statistics.median(s / f for s, f in zip(slow, fast)), 2)


def table(*rows: tuple) -> None:
    "Print rows in columns."
    text = [[f"{x:.3f}" if isinstance(x, float) else str(x) for x in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*text)]
    print("\n".join("  ".join(x.ljust(w) for x, w in zip(row, widths)).rstrip() for row in text), flush=True)


def starting(turns: int) -> dict:
    "Import, first clip and memory, each in processes of their own."
    importing = [
        float(run("import time; t = time.perf_counter(); import i2v_lab; print(time.perf_counter() - t)"))
        for _ in range(turns + 2)
    ]
    firsts = [json.loads(run(FIRST)) for _ in range(turns)]
    return dict(
        import_seconds=spread(importing),
        first_clip_seconds=spread([f["first"] for f in firsts]),
        peak_gigabytes=round(max(f["peak"] for f in firsts) / 1e9, 2),
    )


def warm(pipe: Pipeline, turns: int) -> dict:
    "Seconds of warm clips by stage; walk cuts the subject out and fills behind it."
    picture, out = picture_of(512, 512), {}
    for name, prompt in (("camera", CAMERA), ("walk", WALK)):
        runs = [staged(pipe, picture, prompt, num_frames=FRAMES, seed=seed) for seed in range(turns + 1)][1:]
        out[f"warm_{name}_seconds"] = spread([seconds for seconds, _ in runs])
        out[f"warm_{name}_stages"] = {
            n: round(statistics.median(stages[n] for _, stages in runs), 3) for n in runs[0][1]
        }
    return out


# %% against naive


@torch.inference_mode()
def naive(pipe: Pipeline, picture: np.ndarray, prompt: str, steps: int, *, reuse: bool = False) -> lab.Clip:
    "The five stages as a straightforward script calls them: everything anew at every step, for both passes of guidance."

    def conditioning() -> Conditioning:
        return pipe.condition(pipe.encode_image(picture), pipe.encode_prompt(prompt))

    shape = pipe.latent_shape(pipe.encode_image(picture), FRAMES)
    latents, scheduler = pipe.starting_noise(shape, SEED), pipe.make_scheduler(steps)
    kept = conditioning() if reuse else None
    for t in scheduler.timesteps:
        given = pipe.denoise(latents, t, replace(kept or conditioning(), uncond=None))
        without = pipe.denoise(latents, t, (kept or conditioning()).uncond)
        velocity = without + pipe.defaults["cfg_scale"] * (given - without)
        velocity[:, :, 2:] = given[:, :, 2:]  # the layer is not guided
        latents = scheduler.step(velocity, t, latents, return_dict=False)[0]
    return pipe.decode(latents, picture)


def apart(a: np.ndarray, b: np.ndarray) -> dict:
    "How far the frames of two clips are apart, in grey levels of 255."
    off = np.abs(a.astype(np.int16) - b)
    return dict(largest=int(off.max()), mean=round(float(off.mean()), 4), differing=round(float((off > 0).mean()), 6))


def against_naive(pipe: Pipeline, turns: int, full: int) -> dict:
    "The shipped default against the same model run naively, and what each thing between them is worth."
    picture, steps = picture_of(512, 512), pipe.defaults["num_inference_steps"]
    fp32, bf16 = (load(dtype=d) for d in ("fp32", "bf16"))
    shipped = lambda p: ", as shipped" * (p.precision_name == pipe.precision_name)
    generate = lambda pipe, steps: (
        lambda: pipe.generate(picture, WALK, num_inference_steps=steps, num_frames=FRAMES, seed=SEED)
    )
    rungs = {
        f"naive: fp32, {full} steps, all anew in both passes of every step": lambda: naive(fp32, picture, WALK, full),
        f"conditioning reused, {full} steps": lambda: naive(fp32, picture, WALK, full, reuse=True),
        f"`generate`, fp32, {full} steps": generate(fp32, full),
        f"`generate`, fp32, {steps} steps{shipped(fp32)}": generate(fp32, steps),
        f"`generate`, bf16, {steps} steps{shipped(bf16)}": generate(bf16, steps),
    }
    for p in (fp32, bf16):
        generate(p, 2)()
    clips = {}

    def keep(name, rung):
        return lambda: clips.__setitem__(name, rung().frames)

    seconds = in_turns({name: keep(name, rung) for name, rung in rungs.items()}, turns)
    names = list(rungs)
    rows = [
        dict(
            rung=name,
            seconds=spread(seconds[name]),
            times_faster_than_naive=times_faster(seconds[names[0]], seconds[name]),
            frames_from_rung_above=None if i == 0 else apart(clips[names[i - 1]], clips[name]),
        )
        for i, name in enumerate(names)
    ]
    print(f"\nAgainst naive, {FRAMES} frames, 512x512, {WALK!r}, in {turns} turns")
    head = ("rung", "seconds", "times faster", "frames from the rung above, grey levels: largest, mean")
    far = lambda r: f"{r['largest']}, {r['mean']}" if r else ""
    table(
        head,
        *(
            (r["rung"], r["seconds"]["median"], f"{r['times_faster_than_naive']:.2f}", far(r["frames_from_rung_above"]))
            for r in rows
        ),
    )
    return dict(naive_ladder=rows)


# %% share of the machine's peak


def flops(work: Callable) -> float:
    "Count the operations of matrix products, convolutions and attention."
    attention = lambda q, k, v, *args, out_shape=None, **kw: sdpa_flop_count(q, k, v)
    fused = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}  # torch counts it as nothing
    with FlopCounterMode(display=False, custom_mapping=fused) as counter:
        work()
    return counter.get_total_flops()


def matmul(n: int, dtype: torch.dtype) -> Callable:
    "A square matrix product."
    a, b, out = (torch.randn(n, n).to(dtype) for _ in range(3))
    return lambda: torch.mm(a, b, out=out)


@torch.inference_mode()
def share_of_peak(turns: int) -> dict:
    "GFLOP/s of the two heavy networks against the best that a large matrix product reaches here."
    picture, work, counts = picture_of(512, 512), {}, {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        pipe = load(dtype=name)
        image = pipe.encode_image(picture)
        cond = pipe.condition(image, pipe.encode_prompt(WALK))
        cond.cfg_scale = pipe.defaults["cfg_scale"]
        noise = pipe.starting_noise(pipe.latent_shape(image, FRAMES), SEED)

        def denoise(pipe=pipe, noise=noise, cond=cond):
            for t in pipe.make_scheduler(pipe.defaults["num_inference_steps"]).timesteps:
                pipe.denoise(noise, t, cond)

        parts = {"denoise": denoise, "encode_image": lambda pipe=pipe: pipe.encode_image(picture)}
        if name == "fp32":  # the counter cannot look through autocast; the operations are the same
            counts = {part: flops(f) / 1e9 for part, f in parts.items()}
        squares = {n: matmul(n, dtype) for n in (1024, 2048)}
        work |= {(name, part): f for part, f in (parts | squares).items()}
    in_turns(work, 1)
    seconds, out = in_turns(work, turns), {}
    print("\nShare of the peak of square matrix products in the same precision, same run")
    rows = [("precision", "what", "GFLOP", "seconds", "GFLOP/s", "share of peak")]
    for name in ("fp32", "bf16"):
        peak = max(2 * n**3 / min(seconds[name, n]) for n in (1024, 2048)) / 1e9
        out[name] = dict(peak_gflops=round(peak))
        rows.append((name, "matmul (best)", "", "", f"{peak:.0f}", ""))
        for part, count in counts.items():
            median = statistics.median(seconds[name, part])
            rate = count / median
            out[name][part] = dict(
                gflop=round(count, 2), seconds=round(median, 4), gflops=round(rate, 1), share=round(rate / peak, 3)
            )
            rows.append((name, part, f"{count:.1f}", median, f"{rate:.0f}", f"{rate / peak:.0%}"))
    table(*rows)
    return dict(peak=out)


# %% experiments


@contextmanager
def threads(n: int) -> Iterator[None]:
    "Run with so many threads, torch's and OpenCV's."
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(n)
    cv2.setNumThreads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def half_precision(turns: int) -> dict:
    "Seconds by stage in fp32 and bf16, with one and two threads."
    picture, runs = picture_of(512, 512), {}
    pipes = {d: load(dtype=d) for d in ("fp32", "bf16")}
    begun = time.perf_counter()
    for turn in range(turns + 1):
        if turn > 1 and time.perf_counter() - begun > 40:
            break
        for n in (1, 2):
            for dtype, pipe in pipes.items():
                with threads(n):
                    seconds, stages = staged(pipe, picture, WALK, num_frames=FRAMES, seed=SEED)
                if turn:
                    runs.setdefault(f"{dtype}, {n} thread{'s' * (n > 1)}", []).append(dict(clip=seconds) | stages)
    out = {name: {k: round(statistics.median(r[k] for r in rs), 4) for k in rs[0]} for name, rs in runs.items()}
    print("\nPrecision and threads: seconds by stage")
    table(("", *next(iter(out.values()))), *((name, *stages.values()) for name, stages in out.items()))
    return dict(precision_and_threads=out)


def together(a: Conditioning, b: Conditioning) -> Conditioning:
    "Two conditionings as one batch of two; contexts are filled up and masked."
    longest = max(a.context.shape[1], b.context.shape[1])
    pad = lambda x, value: F.pad(x, (0, 0) * (x.dim() - 2) + (0, longest - x.shape[1]), value=value)
    return Conditioning(
        torch.cat([pad(c.context, 0.0) for c in (a, b)]),
        torch.cat([pad(c.mask, False) for c in (a, b)]),
        extra={k: torch.cat([a.extra[k], b.extra[k]]) for k in a.extra},
    )


@torch.inference_mode()
def guidance_as_one_batch(turns: int) -> dict:
    "Would both passes of guidance be faster as one batch of two? It looks inside the decoder, so it may outlive its use."
    picture, out = picture_of(512, 512), {}
    rows = [("", "two passes, ms a step", "one batch, ms a step", "times faster", "largest difference")]
    for dtype in ("fp32", "bf16"):
        pipe = load(dtype=dtype)
        image = pipe.encode_image(picture)
        cond = pipe.condition(image, pipe.encode_prompt(WALK))
        noise, sigma = pipe.starting_noise(pipe.latent_shape(image, FRAMES), SEED), torch.full((1,), 0.9)
        both, two, sigmas = together(cond, cond.uncond), torch.cat([noise, noise]), torch.full((2,), 0.9)
        variants = {
            "two": lambda p=pipe, x=noise, s=sigma, c=cond: torch.cat([p.clean(x, s, c), p.clean(x, s, c.uncond)]),
            "one": lambda p=pipe, x=two, s=sigmas, c=both: p.clean(x, s, c),
        }
        off = float((variants["two"]() - variants["one"]()).abs().max())
        for n in (1, 2):
            with threads(n):
                in_turns(variants, 1)
                seconds = in_turns(variants, turns, enough=10.0)
            ratio = times_faster(seconds["two"], seconds["one"])
            two_ms, one_ms = (round(1000 * statistics.median(seconds[v]), 2) for v in variants)
            name = f"{dtype}, {n} thread{'s' * (n > 1)}"
            out[name] = dict(two_passes_ms=two_ms, one_batch_ms=one_ms, times_faster=ratio, largest_difference=off)
            out[name]["n"] = len(seconds["one"])
            rows.append((name, f"{two_ms:.2f}", f"{one_ms:.2f}", f"{ratio:.2f}", f"{off:.1e}"))
    print("\nBoth passes of guidance as one batch of two (an experiment)")
    table(*rows)
    return dict(guidance_as_one_batch=out)


def processor() -> str:
    "The processor's name."
    try:
        names = [x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x]
    except OSError:
        names = []
    return names[0] if names else "unknown"


def main(quick: bool):
    begun, turns = time.perf_counter(), 1 if quick else 3
    load_average = round(os.getloadavg()[0], 2)  # before we load it ourselves: above 0.3, somebody else was at work
    figures = starting(turns)
    pipe = lab.load_pipeline()
    figures |= warm(pipe, 2 if quick else 5)
    figures |= dict(steps=pipe.defaults["num_inference_steps"], weights_sha256=pipe.weights_sha256)
    figures["machine"] = dict(
        cores=os.cpu_count(), threads=torch.get_num_threads(), processor=processor(), load_average=load_average
    )
    print(json.dumps(figures, indent=1), flush=True)
    figures |= against_naive(pipe, turns, 4 if quick else FULL_STEPS)
    figures |= share_of_peak(5 if quick else 15)
    figures |= half_precision(1 if quick else 5)
    try:
        figures |= {} if quick else guidance_as_one_batch(20)
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:
        print(f"the experiment no longer fits the decoder: {error!r}", file=sys.stderr)
    figures["curves"] = curves.measure(turns=1 if quick else 3, quick=quick)
    print(f"\n{time.perf_counter() - begun:.0f} s")
    if not quick:
        curves.draw(figures["curves"], ROOT / "nbs" / "images" / "speed.png")
        (Path(lab.__file__).parent / "weights" / "speed.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a glance in under a minute; writes nothing")
    main(parser.parse_args().quick)
