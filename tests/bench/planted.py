"""Do effects tell the truth? `python tests/bench/planted.py [--studies 100] [--seeds 3] [--photos 4]`; prints one JSON object.

Simulated studies whose truth is known: eight mixes of three extensions on 4 photos, 2 prompts and 2 seeds. Photos, prompts
and seeds differ much more than any switch does; every clip has noise of its own (5 % of its time, lognormal; its motion by
a Student's t of five degrees of freedom, 10 %). Averaged over the other switches,

- `slow` takes 20 % more time and makes 10 % less motion;
- `other` takes 10 % less time, makes 15 % more motion, and 10 % more time than the two alone explain together with `slow`;
- `nothing` does nothing on any metric.

`spread` is by how much photos differ in their effects of `slow` and `other` on time and motion (standard deviation of the
logarithm, as a share of the effect): 0, or a half. Counted, of all studies of a simulation seed:

- `both_held`: the truth of both effects of `slow`, time and motion, lies in its interval;
- `nothing_quiet`: no metric has a clear effect of `nothing`;
- `slow_clear`, `interaction_clear`: the effects on time that are there are seen.

`intervals`: the share of intervals that hold the truth, for one metric of normal noise, four blocks a photo, 4, 8 and 16
photos that differ by 0, 0.5 and 2 times the noise of a block; for the plain percentile bootstrap over photos, the expanded
percentiles of Hesterberg (2015), the studentised bootstrap, Student's t with the error of photos alone, and the one that
is used (Student's t with the larger of the errors of photos and of blocks); `width` is its mean width.
"""

import argparse
import json
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import ndtr, stdtrit
from scipy.stats import norm

from i2v_lab.study.effects import effects, half_widths

SLOW = {"seconds": np.log(1.2), "motion": np.log(0.9)}
OTHER = {"seconds": np.log(0.9), "motion": np.log(1.15)}
TOGETHER = np.log(1.1)
MIXES = [c for n in range(4) for c in combinations(("nothing", "other", "slow"), n)]


@dataclass(frozen=True)
class Metric:
    name: str
    unit: str
    better: str | None
    kind: str = "difference"


METRICS = [
    Metric("seconds", "s", "lower", "ratio"),
    Metric("peak_bytes", "bytes", "lower", "ratio"),
    Metric("motion", "% of the shorter side", None, "ratio"),
    Metric("as_asked", "share", "higher"),
    Metric("flicker", "grey levels", "lower"),
    Metric("smoothness", "", "higher"),
    Metric("colour_drift", "Delta E", "lower"),
    Metric("distortion", "% of the shorter side", "lower"),
]
METRICS = {m.name: m for m in METRICS}


def planted(rng: np.random.Generator, photos: int, spread: float) -> pd.DataFrame:
    "One study."
    out = []
    for photo in range(photos):
        look = rng.normal(size=8)  # what is the photo's own, by metric
        own = [{k: e[k] * (1 + spread * rng.normal()) for k in e} for e in (SLOW, OTHER)]
        for prompt in range(2):
            words = rng.normal(size=8)
            for seed in range(2):
                luck = 0.4 * look + 0.3 * words + 0.3 * rng.normal(size=8)
                for mix in MIXES:
                    slow, other, noise = "slow" in mix, "other" in mix, rng.normal(size=8)
                    log = {k: own[0][k] * slow + own[1][k] * other for k in SLOW}
                    log["seconds"] += TOGETHER * (slow - 0.5) * (other - 0.5)
                    clip = dict(
                        seconds=3 * np.exp(0.5 * luck[0] + log["seconds"] + 0.05 * noise[0]),
                        peak_bytes=4e8 * np.exp(0.5 * luck[1] + 0.002 * noise[1]),
                        motion=4 * np.exp(luck[2] + log["motion"] + 0.1 * rng.standard_t(5)),
                        as_asked=float(luck[3] + 0.7 * noise[3] > -0.6),
                        flicker=0.5 * np.exp(luck[4] + 0.3 * noise[4]),
                        smoothness=1 / (1 + 0.2 * np.exp(luck[5] + 0.3 * noise[5])),
                        colour_drift=np.abs(1 + luck[6] + 0.3 * noise[6]),
                        distortion=0.3 * np.exp(luck[7] + 0.4 * noise[7]),
                    )
                    keys = dict(image=f"photo {photo}", prompt=f"prompt {prompt}", seed=seed, mix="+".join(mix))
                    out.append(keys | clip)
    return pd.DataFrame(out)


def count(studies: int, seed: int, photos: int, spread: float, confidence: float) -> dict:
    "How often effects tell the truth."
    rng, rows = np.random.default_rng([seed, photos, round(100 * spread)]), []
    for _ in range(studies):
        found = effects(planted(rng, photos, spread), METRICS, confidence=confidence)
        told = {(e.name, e.metric): e for e in found}
        truth = {k: 100 * np.expm1(SLOW[k]) for k in SLOW}
        held = {k: told["slow", k].low <= truth[k] <= told["slow", k].high for k in truth}
        rows.append(
            dict(
                both_held=all(held.values()),
                nothing_quiet=not any(e.clear for e in found.main() if e.name == "nothing"),
                slow_clear=told["slow", "seconds"].clear,
                interaction_clear=told["other with slow", "seconds"].clear,
            )
        )
    return {k: sum(row[k] for row in rows) for k in rows[0]}


def coverage(photos: int, spread: float, studies: int = 4000, resamples: int = 1000, confidence: float = 0.99) -> dict:
    "The share of intervals that hold the truth, by the way they are made."
    rng, a = np.random.default_rng([photos, round(10 * spread)]), (1 - confidence) / 2
    d = rng.normal(size=(studies, photos, 4)) + spread * rng.normal(size=(studies, photos, 1))
    by_photo, blocks = d.mean(-1), d.reshape(studies, -1)
    mean, error = by_photo.mean(1), by_photo.std(1, ddof=1) / np.sqrt(photos)
    t = stdtrit(photos - 1, 1 - a)
    draws = rng.multinomial(photos, np.full(photos, 1 / photos), size=resamples) / photos  # `[R,P]`
    means = by_photo @ draws.T  # `[S,R]`
    errors = np.sqrt(np.maximum((by_photo**2) @ draws.T - means**2, 0) / (photos - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        pivots = np.where(errors > 1e-9, (means - mean[:, None]) / errors, np.sign(means - mean[:, None]) * np.inf)
    expanded = ndtr(-t * np.sqrt(photos / (photos - 1)))
    quantile = lambda x, q: np.quantile(x, [q, 1 - q], axis=1, method="nearest")
    low_t, high_t = quantile(pivots, a)
    half = half_widths(blocks, np.repeat(np.arange(photos), 4), confidence, resamples, rng)[0]
    ways = dict(
        percentile=quantile(means, a),
        expanded=quantile(means, expanded),
        studentised=(mean - high_t * error, mean - low_t * error),
        photos_alone=(mean - t * error, mean + t * error),
        used=(mean - half, mean + half),
    )
    out = {k: round(float(np.mean((low <= 0) & (0 <= high))), 4) for k, (low, high) in ways.items()}
    finite = np.isfinite(ways["studentised"]).all(0)
    about = dict(photos=photos, spread=spread, studentised_without_end=round(float(np.mean(~finite)), 3))
    truth = np.sqrt((0.25 + spread**2) / photos) * norm.isf(a) * 2
    return about | out | dict(width=round(float(2 * half.mean()), 3), width_if_spread_were_known=round(float(truth), 3))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--photos", type=int, default=4)
    args = parser.parse_args()
    simulated = [
        dict(photos=args.photos, spread=spread, confidence=confidence, seed=seed)
        | count(args.studies, seed, args.photos, spread, confidence)
        for confidence in (0.99, 0.95)
        for spread in (0.0, 0.5)
        for seed in range(args.seeds)
    ]
    intervals = [coverage(photos, spread) for photos in (4, 8, 16) for spread in (0.0, 0.5, 2.0)]
    print(json.dumps(dict(studies=args.studies, simulated=simulated, intervals=intervals), indent=1))


if __name__ == "__main__":
    main()
