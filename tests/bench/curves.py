"""How seconds and memory grow with size, frames and steps; `speed.py` measures and draws them.

`python tests/bench/curves.py` draws `nbs/images/speed.png` again from `i2v_lab/weights/speed.json`.
All points are measured in one fresh process. Seconds are taken warm, in turns over all points. Memory is the peak of the
resident set while one clip is made: freed memory is given back and Linux told to forget the peak before each clip. numpy's
and OpenCV's memory count too. Elsewhere than on Linux there are no memory curves.
"""

import ctypes
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

import i2v_lab as lab
from i2v_lab.core.picture import load_picture
from i2v_lab.pipeline.pipeline import Pipeline
from i2v_lab.training.sources import photos

FRAMES, WALK = 16, "it walks"
ROOT = Path(__file__).resolve().parents[2]
SIZES = {"256": (256, 256), "384": (384, 384), "512": (512, 512), "768": (768, 768)}
SIZES |= {"1024": (1024, 1024), "1920x1080": (1080, 1920)}  # (height, width)
STAGES = {  # what is drawn as one, in Okabe and Ito's colours
    "encode_image": ("encode image", "#0072B2"),
    "encode_prompt": ("read prompt, condition", "#CC79A7"),
    "condition": ("read prompt, condition", "#CC79A7"),
    "denoise": ("denoise", "#E69F00"),
    "decode": ("decode (draw frames)", "#009E73"),
}


def picture_of(height: int, width: int) -> np.ndarray:  # uint8 `[H,W,3]`
    "The held-out horse, resized."
    photo = next(p for p in photos("heldout") if "horse" in p.stem)
    return cv2.resize(load_picture(photo), (width, height), interpolation=cv2.INTER_AREA)


def staged(pipe: Pipeline, picture: np.ndarray, prompt: str, **kw) -> tuple[float, dict[str, float]]:
    "Seconds of one clip, altogether and by stage."
    events, start = [], time.perf_counter()
    pipe.generate(picture, prompt, progress=events.append, **kw)
    seconds = time.perf_counter() - start
    ends = {e.stage: e.seconds for e in events}
    return seconds, {n: end - before for (n, end), before in zip(ends.items(), [0.0, *ends.values()])}


def points(steps: int, quick: bool = False) -> dict[str, dict[str, dict]]:
    "What to measure: by curve and label, the size and the settings of a clip."
    usual = dict(size=SIZES["512"], num_frames=FRAMES, num_inference_steps=steps)
    out = dict(
        size={name: usual | dict(size=size) for name, size in SIZES.items()},
        frames={str(n): usual | dict(num_frames=n) for n in (8, 16, 32, 64)},
        steps={str(n): usual | dict(num_inference_steps=n) for n in (4, 8, 12, 20, 40)},
    )
    return {k: {name: v[name] for name in list(v)[:2]} for k, v in out.items()} if quick else out


def make(pipe: Pipeline, point: dict) -> dict[str, float]:
    "Make the clip of a point; its seconds, in total and by stage."
    settings = {k: v for k, v in point.items() if k != "size"}
    total, stages = staged(pipe, picture_of(*point["size"]), WALK, seed=0, **settings)
    return dict(total=total) | stages


def resident(line: str) -> int:  # VmRSS: now, VmHWM: at most
    "Bytes of memory of this process."
    return 1024 * int(re.search(rf"{line}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def forget_peak() -> int:  # bytes resident now
    "Give freed memory back to the system and start a new peak."
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def memory_of(pipe: Pipeline, point: dict) -> dict[str, int]:
    "Bytes resident before the clip of a point is made, and at most meanwhile."
    loaded = forget_peak()
    make(pipe, point)
    return dict(loaded=loaded, peak=resident("VmHWM"))


def worker(turns: int, quick: bool) -> dict:
    "Measure every point in this process: memory, then seconds, then memory again, backwards."
    pipe = lab.load_pipeline()
    make(pipe, dict(size=(64, 64), num_frames=2, num_inference_steps=1))
    todo = {
        (curve, label): point
        for curve, labels in points(pipe.defaults["num_inference_steps"], quick).items()
        for label, point in labels.items()
    }
    linux = sys.platform == "linux"
    memory = {k: [memory_of(pipe, p) if linux else make(pipe, p)] for k, p in todo.items()}  # warms up as well
    runs = {k: [] for k in todo}
    for _ in range(turns):
        for k, point in todo.items():
            runs[k].append(make(pipe, point))
    for k in () if quick or not linux else reversed(todo):
        memory[k].append(memory_of(pipe, todo[k]))
    out = dict(seconds={c: {} for c, _ in todo}, memory={c: {} for c, _ in todo} if linux else None)
    for (curve, label), rs in runs.items():
        out["seconds"][curve][label] = {k: round(statistics.median(r[k] for r in rs), 4) for k in rs[0]}
        if linux:
            out["memory"][curve][label] = {k: max(m[k] for m in memory[curve, label]) for k in ("loaded", "peak")}
    return dict(prompt=WALK, frames=FRAMES, size=512, steps=pipe.defaults["num_inference_steps"]) | out


def measure(turns: int, quick: bool = False) -> dict:
    "Measure the curves in a fresh process and print them."
    command = [sys.executable, __file__, "--worker", str(turns), *["--quick"] * quick]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    out = json.loads(done.stdout.splitlines()[-1])
    print(f"\nCurves, {WALK!r}; {FRAMES} frames, 512x512, {out['steps']} steps where not said otherwise")
    for curve, labels in out["seconds"].items():
        for label, s in labels.items():
            stages = ", ".join(f"{n} {v:.3f}" for n, v in s.items() if n != "total")
            m = out["memory"] and out["memory"][curve][label]
            peak = f"{m['peak'] / 1e9:.2f} GB, of it {(m['peak'] - m['loaded']) / 1e6:.0f} MB for the clip" if m else ""
            print(f"{curve:>6} {label:>9}: {s['total']:.3f} s ({stages}) {peak}", flush=True)
    return out


def draw(curves: dict, path: Path) -> None:
    "One figure: seconds by stage above, peak memory below."
    titles = dict(
        size=f"picture size, pixels ({curves['frames']} frames, {curves['steps']} steps)",
        frames=f"frames ({curves['size']}x{curves['size']}, {curves['steps']} steps)",
        steps=f"denoising steps ({curves['size']}x{curves['size']}, {curves['frames']} frames)",
    )
    figure = Figure(figsize=(10, 6), dpi=100, layout="constrained")
    rows = figure.subfigures(2, 1)
    above, below = (row.subplots(1, 3, sharey=True, width_ratios=[6, 4, 5]) for row in rows)
    for column, (curve, title) in enumerate(titles.items()):
        labels = list(curves["seconds"][curve])
        names = [label.replace("x", "x\n") for label in labels]
        floor = np.zeros(len(labels))
        for group, colour in dict(STAGES.values()).items():
            members = [n for n, (g, _) in STAGES.items() if g == group]
            height = np.array([sum(curves["seconds"][curve][x][n] for n in members) for x in labels])
            above[column].bar(names, height, 0.7, bottom=floor, color=colour, label=group)
            floor += height
        number(above[column], floor, [f"{x:.2f}" for x in floor])
        if curves["memory"]:
            loaded, peak = (np.array([curves["memory"][curve][x][k] / 1e9 for x in labels]) for k in ("loaded", "peak"))
            clip = "on top of it, for the clip (numbers: MB)"
            below[column].bar(names, loaded, 0.7, color="#BBBBBB", label="process with the model loaded")
            below[column].bar(names, peak - loaded, 0.7, bottom=loaded, color="#D55E00", label=clip)
            number(below[column], peak, [f"+{1000 * x:.0f}" for x in peak - loaded])
        for axes in (above[column], below[column]):
            axes.set_xlabel(title)
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(axis="x", length=0)
    above[0].set_ylabel("seconds a clip, warm")
    below[0].set_ylabel("peak memory, GB")
    for row, axes in zip(rows, (above, below)):
        axes[0].margins(y=0.12)
        row.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def number(axes, tops: np.ndarray, texts: list[str]) -> None:
    "Write over each bar."
    for x, (top, text) in enumerate(zip(tops, texts)):
        axes.text(x, top, text, ha="center", va="bottom", fontsize=8.5)


if __name__ == "__main__":
    if "--worker" in sys.argv:
        print(json.dumps(worker(int(sys.argv[2]), "--quick" in sys.argv)))
    else:
        figures = json.loads((Path(lab.__file__).parent / "weights" / "speed.json").read_text())
        draw(figures["curves"], ROOT / "nbs" / "images" / "speed.png")
