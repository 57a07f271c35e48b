"""Time and memory of the shipped model: `python tests/bench/speed.py`.

Every figure is measured in a process of its own where that matters (import, first clip, memory), and warm clips are
timed several times; the median and the range are printed. Writes `i2v_lab/weights/speed.json`.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIRST = """
import json, resource, sys, time
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


def run(code: str, *args: str) -> str:
    "Run Python in a fresh process."
    return subprocess.run(
        [sys.executable, *args, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def spread(values: list[float]) -> dict:
    "Median and range."
    return dict(
        median=round(statistics.median(values), 3), low=round(min(values), 3), high=round(max(values), 3), n=len(values)
    )


def warm() -> dict:
    "Seconds of warm clips, 16 frames at 512x512, by stage; walk cuts the subject out and fills behind it."
    import numpy as np

    import i2v_lab as lab
    from i2v_lab.core.picture import load_picture
    from i2v_lab.training.sources import photos

    pipe = lab.load_pipeline()
    import cv2

    photo = next(p for p in photos("heldout") if "horse" in p.stem)
    picture = cv2.resize(load_picture(photo), (512, 512), interpolation=cv2.INTER_AREA)
    out = {}
    for name, prompt in (("camera", "the camera zooms in"), ("walk", "it walks")):
        seconds, stages = [], []
        for seed in range(6):
            events, start = [], time.perf_counter()
            pipe.generate(picture, prompt, seed=seed, num_frames=16, progress=events.append)
            seconds.append(time.perf_counter() - start)
            ends = {e.stage: e.seconds for e in events}
            names = list(ends)
            stages.append({n: ends[n] - (ends[names[i - 1]] if i else 0) for i, n in enumerate(names)})
        out[f"warm_{name}_seconds"] = spread(seconds[1:])
        out[f"warm_{name}_stages"] = {n: round(float(np.median([s[n] for s in stages[1:]])), 3) for n in stages[0]}
    out["steps"], out["weights_sha256"] = pipe.defaults["num_inference_steps"], pipe.weights_sha256
    return out


def main():
    importing = [
        float(run("import time; t = time.perf_counter(); import i2v_lab; print(time.perf_counter() - t)"))
        for _ in range(5)
    ]
    firsts = [json.loads(run(FIRST)) for _ in range(3)]
    import torch

    figures = dict(
        import_seconds=spread(importing),
        first_clip_seconds=spread([f["first"] for f in firsts]),
        peak_gigabytes=round(max(f["peak"] for f in firsts) / 1e9, 2),
        **warm(),
        machine=dict(
            cores=os.cpu_count(), threads=torch.get_num_threads(), processor=platform.processor() or platform.machine()
        ),
    )
    print(json.dumps(figures, indent=1))
    import i2v_lab

    (Path(i2v_lab.__file__).parent / "weights" / "speed.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
