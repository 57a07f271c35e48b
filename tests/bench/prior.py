"""Measure what `action_prior` does to vague prompts: `python tests/bench/prior.py`.

On held-out photos of an animal or a person, and on held-out places where nobody is; each prompt with each seed, off and
on, from the same starting noise. What a clip shows is read by the judge from its pixels. Clear prompts are measured, too:
the prior must leave them alone. Prints one JSON object and writes it to `i2v_lab/weights/prior.json`; `--quick` takes
every third picture and writes nothing.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from figures import PLAIN, share, shipped, with_subject

import i2v_lab as lab
from i2v_lab.core.actions import Action
from i2v_lab.core.files import atomic_path
from i2v_lab.study.judge import judge
from i2v_lab.training.examples import has_somebody

VAGUE = ("make it move", "bring it to life", "animate this", "add some motion", "let it go", "do something with it")
SEEDS = (0, 1)


def gain(off: list[bool], on: list[bool], draws: int = 4000) -> list[float]:
    "Mean of the paired difference with its 95 % bootstrap interval."
    d, rng = np.array(on, float) - np.array(off, float), np.random.default_rng(0)
    means = d[rng.integers(len(d), size=(draws, len(d)))].mean(1)
    return [round(float(v), 4) for v in (d.mean(), *np.quantile(means, (0.025, 0.975)))]


def measure(pipe, every: int) -> dict:
    "The share that walks, off and on; who decided; and whether clear prompts stay as they were."
    somebody = with_subject(every)
    nobody = [p for p in shipped(every=2 * every) if not has_somebody(p)][: len(somebody)]
    walks, decided, empty = {"off": [], "on": []}, [], []
    for paths, seen in ((somebody, walks), (nobody, None)):
        for path in paths:
            for prompt in VAGUE:
                for seed in SEEDS if seen is not None else SEEDS[:1]:
                    on = pipe.generate(path, prompt, seed=seed, mix=["action_prior"])
                    if seen is None:
                        empty.append(on.settings["decided_by"] == "prompt")
                        continue
                    off = pipe.generate(path, prompt, seed=seed, mix=[])
                    decided.append(on.settings["decided_by"] == "prior")
                    for name, clip in (("off", off), ("on", on)):
                        seen[name].append(judge(clip).action == Action.WALK)
    same = []
    for path in somebody:
        for action in (Action.ZOOM_IN, Action.PAN_LEFT, Action.RUN):
            off, on = (pipe.generate(path, PLAIN[action], seed=0, mix=mix) for mix in ([], ["action_prior"]))
            same.append(bool(np.array_equal(off.frames, on.frames)))
    return dict(
        walks_off=share(walks["off"]),
        walks_on=share(walks["on"]),
        gain=gain(walks["off"], walks["on"]),
        prior_decided=share(decided),
        abstains_where_nobody_is=share(empty),
        clear_prompts_untouched=share(same),
        prompts=list(VAGUE),
        weights_sha256=pipe.weights_sha256,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    figures = measure(lab.load_pipeline("motiondit"), 3 if args.quick else 1)
    print(json.dumps(figures, indent=1))
    if not args.quick:
        with atomic_path(Path(lab.__file__).parent / "weights" / "prior.json") as temporary:
            Path(temporary).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
