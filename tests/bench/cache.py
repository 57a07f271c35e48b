"""What `kv_cache` saves and what a switch costs: `python tests/bench/cache.py [--dtype fp32]`, on a quiet machine.

Prints one JSON object.

16 frames of 512 x 512, the shipped number of steps. The variants are run in turns, and a figure is the median of the
ratios within each turn: `denoise` is the time of all steps with the cache, as a share of that without; `repeat` is a clip
of a picture and a prompt that the cache has seen, as a share of one with the cache when it has not (its extra gain).
`toggle_ms` is the time to switch an extension on and off again, halved; the largest of several.
"""

import argparse
import json
import statistics
import time

import torch
from curves import WALK, picture_of, staged

import i2v_lab as lab


def main(turns: int = 15):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", help="fp32 or bf16; else what the settings say")
    dtype = parser.parse_args().dtype
    pipe, picture = lab.load_pipeline(**({"dtype": dtype} if dtype else {})), picture_of(512, 512)
    found = {"off": [], "new": [], "repeat": []}
    for turn in range(turns + 1):
        rows = {"off": staged(pipe, picture, WALK, seed=turn)}
        with pipe.using(["kv_cache"]):
            rows |= {name: staged(pipe, picture, WALK, seed=turn) for name in ("new", "repeat")}
        for name, row in rows.items():
            found[name] += [row] if turn else []  # the first is a warm-up
    median = lambda a, b, of: round(statistics.median(of(x) / of(y) for x, y in zip(found[a], found[b])), 3)
    denoise, total = (lambda row: row[1]["denoise"]), (lambda row: row[0])
    toggles = {}
    for name in lab.extension_names():
        seconds = []
        for _ in range(20):
            start = time.perf_counter()
            pipe.use([name])
            pipe.use([])
            seconds.append((time.perf_counter() - start) / 2)
        toggles[name] = round(1000 * max(seconds[1:]), 3)  # the first one imports it
    out = dict(
        denoise=median("new", "off", denoise),
        denoise_when_repeated=median("repeat", "off", denoise),
        new=median("new", "off", total),
        repeat=median("repeat", "new", total),
        repeat_of_off=median("repeat", "off", total),
        toggle_ms=toggles,
        turns=turns,
        threads=torch.get_num_threads(),
        dtype=pipe.precision_name,
        weights_sha256=pipe.weights_sha256,
    )
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
