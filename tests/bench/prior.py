"""Measure what `action_prior` does to vague prompts: `python tests/bench/prior.py`.

On held-out photos of an animal or a person, and on held-out places where nobody is; each prompt with each seed, off and
on, from the same starting noise. What a clip shows is read by the judge from its pixels: it *walks steadily forward* if
the judge calls it a walk, and it goes the way the subject faces where that is labelled. Clear prompts are measured, too:
the prior must leave them alone. Prints one JSON object; `--quick` takes every third picture. The notebook
`nbs/tutorials/10_extensions_measured.ipynb` shows the same as a table.
"""

import argparse
import json

import numpy as np
from figures import PLAIN, fitted, look_at_walk, share, shipped, with_subject

import i2v_lab as lab
from i2v_lab.core.actions import Action
from i2v_lab.training.examples import has_somebody
from i2v_lab.training.sources import photo_facing

VAGUE = {
    "walking, vaguely": (
        "a person walking",
        "out for a stroll",
        "on its way",
        "off it goes",
        "going somewhere",
        "on foot",
    ),
    "no action at all": (
        "make it move",
        "bring it to life",
        "animate this",
        "add some motion",
        "let it go",
        "do something",
    ),
}
SIDE = 384  # pixels of a picture's shorter side
SEEDS = (0, 1)


def gain(off: list[bool], on: list[bool], draws: int = 4000) -> list[float]:
    "Mean of the paired difference with its 95 % bootstrap interval."
    d, rng = np.array(on, float) - np.array(off, float), np.random.default_rng(0)
    means = d[rng.integers(len(d), size=(draws, len(d)))].mean(1)
    return [round(float(v), 4) for v in (d.mean(), *np.quantile(means, (0.025, 0.975)))]


def steady(clip: lab.Clip, facing: int) -> bool:
    "Whether a clip walks steadily forward."
    seen, _, forward = look_at_walk(clip, facing)
    return seen == Action.WALK and forward is not False


def measure_prompts(pipe, pictures: list[tuple[np.ndarray, int]], prompts: tuple[str, ...], seeds) -> dict:
    "The share that walks steadily forward, off and on, and who decided; of pictures and the sides that are faced in them."
    off, on, decided = [], [], []
    for picture, facing in pictures:
        for prompt in prompts:
            for seed in seeds:
                a, b = (pipe.generate(picture, prompt, seed=seed, mix=mix) for mix in ([], ["action_prior"]))
                off.append(steady(a, facing))
                on.append(steady(b, facing))
                decided.append(b.settings["decided_by"] == "prior")
    return dict(off=share(off), on=share(on), gain=gain(off, on), prior_decided=share(decided))


def measure(pipe, every: int = 1, most: int = 6) -> dict:
    "Vague prompts where somebody is and where nobody is, and clear prompts; every so many photos, so many prompts each."
    sides = photo_facing()
    somebody = [(fitted(p, SIDE), sides.get(p.stem, 0)) for p in with_subject(every)]
    nobody = [p for p in shipped() if not has_somebody(p)][:: 2 * every][: len(somebody)]
    seeds, decided_by, same, named = SEEDS if most > 1 else SEEDS[:1], [], [], []
    for picture in (fitted(p, SIDE) for p in nobody):
        for words in VAGUE["no action at all"][:most]:
            clip = pipe.generate(picture, words, seed=0, mix=["action_prior"])
            decided_by.append(clip.settings["decided_by"])
    for picture, facing in somebody:
        for seed in seeds:
            named.append(steady(pipe.generate(picture, "", action="walk", seed=seed), facing))
        for action in (Action.ZOOM_IN, Action.PAN_LEFT, Action.RUN)[:most]:
            off, on = (pipe.generate(picture, PLAIN[action], seed=0, mix=mix) for mix in ([], ["action_prior"]))
            same.append(bool(np.array_equal(off.frames, on.frames)))
    return dict(
        prompts={kind: measure_prompts(pipe, somebody, prompts[:most], seeds) for kind, prompts in VAGUE.items()},
        named_walk=share(named),
        abstains_where_nobody_is=share([who == "prompt" for who in decided_by]),
        clear_prompts_untouched=share(same),
        photos=len(somebody),
        weights_sha256=pipe.weights_sha256,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    print(json.dumps(measure(lab.load_pipeline("motiondit"), 3 if args.quick else 1), indent=1))


if __name__ == "__main__":
    main()
