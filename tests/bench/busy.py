"""A clip on a machine whose cores have other work: seconds with torch's threads spinning as by default, and as the lab sets them.

python tests/bench/busy.py [--turns 3]
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
from pathlib import Path

PHOTO = Path(__file__).resolve().parents[2] / "data" / "photos" / "gcompris-qt-data__erase_horse.jpg"
CLIP = f"""
import json, time
import i2v_lab as lab
pipe, seconds = lab.load_pipeline(), []
for _ in range(3):
    start = time.perf_counter()
    pipe.generate({str(PHOTO)!r}, "zoom in", num_frames=8)
    seconds.append(time.perf_counter() - start)
print(json.dumps(min(seconds[1:])))
"""
WAYS = {"torch's own": {"GOMP_SPINCOUNT": "300000"}, "the lab's": {}}


def spin() -> None:
    """Somebody else's work."""
    while True:
        pass


def seconds_of(way: dict[str, str]) -> float:
    """The quicker of two clips, in a process of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run([sys.executable, "-c", CLIP], env=kept | way, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    turns = parser.parse_args().turns
    for state, others in (("the cores are free", 0), ("each core has other work", os.cpu_count() or 1)):
        work = [multiprocessing.Process(target=spin, daemon=True) for _ in range(others)]
        for process in work:
            process.start()
        took = [{name: seconds_of(way) for name, way in WAYS.items()} for _ in range(turns)]
        for process in work:
            process.terminate()
        ratios = [turn["torch's own"] / turn["the lab's"] for turn in took]
        said = ", ".join(f"{name} {statistics.median(turn[name] for turn in took):.2f} s" for name in WAYS)
        print(f"{state}: {said}; ratio {statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]")


if __name__ == "__main__":
    main()
