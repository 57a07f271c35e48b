"""Measure `action_guidance` on held-out photos: the designs side by side, clips that follow arrows, held areas, the
response to strength, and what it costs. Writes i2v_lab/weights/control.json.

python tests/bench/guidance.py                        everything but training (about 20 minutes of one core)
python tests/bench/guidance.py --only clips --photos 6
python tests/bench/guidance.py --train DIR            train the three designs for equal steps (half an hour of one core)
python tests/bench/guidance.py --designs DIR          compare the trained designs in a folder
"""

import argparse
import json
import time
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

import i2v_lab as lab
from i2v_lab.core.files import atomic_path
from i2v_lab.core.picture import load_picture
from i2v_lab.core.plan import Arrow
from i2v_lab.extensions.action_guidance import BRANCH, ActionGuidance
from i2v_lab.extensions.branch import DESIGNS, about_branch, beside, control_maps, load_branch, save_branch
from i2v_lab.extensions.pull import Target, follow, sampling
from i2v_lab.model.sampler import make_scheduler, velocity
from i2v_lab.probes.guidance import follow_points, response
from i2v_lab.training import control
from i2v_lab.training.control import draw_plans, read_scenes, train_control
from i2v_lab.training.sources import photos

RESULTS = BRANCH.with_suffix(".json")
EQUAL = 200  # steps of the three designs that are compared, one of which is shipped
PROMPTS = ["the camera holds still", "slowly zoom in", "pan to the left", "it walks to the right", "zoom out"]
ASKED = dict(num_frames=12, num_inference_steps=8)
SHORT = 320  # pixels of the shorter side


def train(pipe, folder: Path) -> None:
    """The three designs for equal steps."""
    scenes = read_scenes(pipe, crops=12, prompts=20)
    for design in DESIGNS:
        log = lambda line: print(json.dumps(line), flush=True)
        branch, about = train_control(pipe, scenes, design, steps=EQUAL, log=log)
        folder.mkdir(parents=True, exist_ok=True)
        save_branch(branch, folder / f"{design}_{EQUAL}.safetensors", about | dict(base=pipe.weights_sha256))


@torch.no_grad()
def sample(pipe, scenes, branch, pull: bool, count: int = 16, frames: int = 12, steps: int = 8, seed: int = 3) -> dict:
    """Denoise under drawn motions; how far off arrows, held areas and all the rest are, as shares of the width."""
    decoder, rng = pipe.model.decoder, torch.Generator().manual_seed(seed)
    image, text, wordings = scenes.draw(count, rng)
    cond, without = decoder.condition(image, text), decoder.condition(image, None)
    p, layer = cond.extra["p"], cond.extra["subject"].sigmoid()
    drawn = draw_plans(layer, p, frames, rng, wordings)
    maps = torch.vmap(control_maps)(drawn.at, drawn.want, drawn.still, p, drawn.used)
    grown = F.max_pool2d(drawn.still[:, None], 3, 1, 1)[:, 0]
    x, scheduler = torch.randn(count, frames, 3, *p.shape[-2:], generator=rng), make_scheduler(steps)
    spent = 0.0
    for t in scheduler.timesteps:
        sigma = (t / 1000).expand(count)
        begin = time.process_time()
        with beside(branch, decoder, maps) if branch else nullcontext():
            c, u = decoder(x, sigma, cond).float(), decoder(x, sigma, without).float()
        clean = torch.cat([(u + 2 * (c - u))[:, :, :2], c[:, :, 2:]], 2)
        if pull:
            clean = pulled(pipe, clean, drawn, grown, p)
        spent += time.process_time() - begin
        x = scheduler.step(velocity(x, clean, sigma), t, x, return_dict=False)[0]
    motion = pipe.motion_of(x)
    motion, width = motion - motion[:, :1], 2 * p[:, 0].amax((1, 2)) * 32 / 31
    got = torch.einsum("btchw,bnhw->btnc", motion, torch.vmap(sampling)(drawn.at, p))
    missed = ((got - drawn.want).norm(dim=-1).mean(1) * drawn.used).sum(1) / drawn.used.sum(1) / width
    slipped = (motion.norm(dim=2) * drawn.still[:, None]).sum((1, 2, 3)) / (drawn.still.sum((1, 2)) * frames + 1e-6)
    field = (motion - drawn.motion).norm(dim=2).mean((1, 2, 3)) / width
    held = drawn.still.sum((1, 2)) > 0
    shares = dict(arrows=missed.mean(), held=(slipped / width)[held].mean(), everywhere=field.mean())
    return {k: round(float(v), 5) for k, v in shares.items()} | dict(seconds=round(spent, 2))


def pulled(pipe, clean, drawn, grown, p):
    """What `action_guidance` does to clean latents, for a batch."""
    out = []
    for b, (m, s) in enumerate(zip(pipe.motion_of(clean), pipe.subject_of(clean))):
        on = drawn.used[b] > 0
        out.append(follow(m - m[:1], s, Target(p[b], drawn.at[b][on], drawn.want[b][:, on], 1 - grown[b], [])))
    return pipe.with_motion(clean, torch.stack(out))


def designs(pipe, folder: Path) -> list[dict]:
    """All designs on the same drawn motions over held-out photos; the mean of three seeds."""
    train_side, control.photos = control.photos, lambda side: photos("heldout")
    try:
        scenes = read_scenes(pipe, crops=3, prompts=6, seed=7)
    finally:
        control.photos = train_side
    rows = [("none", None, False, 0), ("A: pull", None, True, 0)]
    files = [(letter, folder / f"{design}_{EQUAL}.safetensors") for letter, design in zip("BCD", DESIGNS)]
    for letter, path in files:
        branch, steps = load_branch(path, pipe.model.decoder), about_branch(path)["steps"]
        name = f"{letter}: {branch.design}"
        rows += [(name, branch, False, steps), (f"{name} + pull", branch, True, steps)]
    out = []
    for name, branch, pull, steps in rows:
        seen = [sample(pipe, scenes, branch, pull, seed=seed) for seed in (3, 4, 5)]
        mean = {k: round(float(np.mean([s[k] for s in seen])), 5) for k in seen[0]}
        parameters = sum(w.numel() for w in branch.parameters()) if branch else 0
        out.append(dict(design=name, parameters=parameters, steps=steps, **mean))
        print(out[-1], flush=True)
    return out


def small(path: Path) -> np.ndarray:
    """A photo at the size of the measurement."""
    picture = load_picture(path)
    by = SHORT / min(picture.shape[:2])
    return cv2.resize(picture, None, fx=by, fy=by, interpolation=cv2.INTER_AREA)


def corners(picture: np.ndarray, rng: np.random.Generator, inside: np.ndarray | None = None) -> np.ndarray:
    """Places that can be tracked, in random order: `[N,2]` pixels."""
    grey, (height, width) = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), picture.shape[:2]
    mask = None if inside is None else inside.astype(np.uint8)
    found = cv2.goodFeaturesToTrack(grey, 200, 0.02, min(height, width) * 0.06, mask=mask)
    found = np.zeros((0, 2)) if found is None else found[:, 0]
    near = ((found > [0.08 * width, 0.08 * height]) & (found < [0.92 * width, 0.92 * height])).all(1)
    return rng.permutation(found[near])


def random_arrows(picture: np.ndarray, rng: np.random.Generator, count: int) -> list[dict]:
    """Arrows with one or two legs of 5 to 15 % of the width each, in any direction, that end in the picture."""
    (height, width), starts = picture.shape[:2], []
    for corner in corners(picture, rng):
        if len(starts) < count and all(np.hypot(*(corner - s)) > 0.15 * min(height, width) for s in starts):
            starts.append(corner)
    arrows = []
    for start in starts:
        points = [(start + 0.5) / [width, height]]
        for _ in range(rng.integers(1, 3)):
            inside = False
            while not inside:
                angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.15)
                end = points[-1] + far * np.array([np.cos(angle), np.sin(angle) * width / height])
                inside = bool(((end > 0.03) & (end < 0.97)).all())
            points.append(end)
        arrows.append(dict(points=[tuple(map(float, p)) for p in points]))
    return arrows


def off(clip, arrows: list[dict]) -> list[float | None]:
    """Mean distance of each arrow from its command, share of the width; None: seen in less than half of the frames."""
    height, width = clip.frames.shape[1:3]
    commanded = np.stack([Arrow(**a).at(len(clip)) for a in arrows], 1)
    observed, seen = follow_points(clip.frames, commanded[0])
    gap = np.hypot(*np.moveaxis((observed - commanded) * [1, height / width], -1, 0))
    return [float(g[s].mean()) if s.mean() > 0.5 else None for g, s in zip(gap.T, seen.T)]


def clips(pipe, count: int) -> dict:
    """Random plans of 1 to 6 arrows on held-out photos, with and without guidance."""
    rng, paths, rows = np.random.default_rng(0), photos("heldout"), []
    for k in range(count):
        picture = small(paths[k % len(paths)])
        arrows = random_arrows(picture, rng, 1 + k % 6)
        asked = dict(prompt=PROMPTS[k % len(PROMPTS)], seed=k, **ASKED)
        free = off(pipe.generate(picture, mix=[], **asked), arrows)
        led = off(pipe.generate(picture, mix=[ActionGuidance(arrows=arrows)], **asked), arrows)
        rows.append(dict(photo=paths[k % len(paths)].name, arrows=len(arrows), free=free, led=led))
        print(k, rows[-1]["photo"], [x and round(x, 4) for x in led], flush=True)
    both = [(f, g) for r in rows for f, g in zip(r["free"], r["led"]) if f is not None and g is not None]
    free, led = np.mean(both, 0)
    return dict(
        plans=len(rows),
        arrows=sum(r["arrows"] for r in rows),
        seen=len(both),
        error_without=round(float(free), 5),
        error=round(float(led), 5),
        ratio=round(float(led / free), 4),
        worst_plan=round(max(np.mean([x for x in r["led"] if x is not None] or [0]) for r in rows), 5),
    )


def held(pipe, count: int) -> dict:
    """A held box under a camera move: how far tracked places in it go, share of the width."""
    rng, paths, means, worst, free = np.random.default_rng(1), photos("heldout"), [], [], []
    for k in range(count):
        picture = small(paths[k % len(paths)])
        height, width = picture.shape[:2]
        x, y = rng.uniform(0.08, 0.5), rng.uniform(0.08, 0.5)
        box = (x, y, min(0.95, x + rng.uniform(0.25, 0.45)), min(0.95, y + rng.uniform(0.25, 0.45)))
        inside = np.zeros((height, width), bool)
        inside[int(box[1] * height) : int(box[3] * height), int(box[0] * width) : int(box[2] * width)] = True
        places = (corners(picture, rng, inside)[:12] + 0.5) / [width, height]
        if not len(places):
            continue
        asked = dict(
            prompt=["slowly zoom in", "pan to the left", "the camera turns", "zoom out"][k % 4], seed=k, **ASKED
        )
        for mix, into in (([], free), ([ActionGuidance(still=[dict(box=box)])], means)):
            path, seen = follow_points(pipe.generate(picture, mix=mix, **asked).frames, places)
            gap = np.hypot(*np.moveaxis((path - path[:1]) * [1, height / width], -1, 0))
            gap = np.where(seen, gap, np.nan)
            into.append(float(np.nanmean(gap[1:])))
        worst.append(float(np.nanmax(gap)))
        print(k, paths[k % len(paths)].name, round(means[-1], 5), round(worst[-1], 5), flush=True)
    return dict(
        boxes=len(means),
        moved_without=round(float(np.mean(free)), 5),
        moved=round(float(np.mean(means)), 5),
        worst_box=round(max(means), 5),
        worst_place=round(max(worst), 5),
    )


def words(pipe, count: int) -> dict:
    """How much of a prompt's camera move is left at the corners beside an arrow or a region on the subject, or a small held
    area, all of which leave it free: least squares factor over all frames; 1: all of it.
    """
    paths, kept = photos("heldout"), {"arrow": [], "region": [], "held": [], "both": []}
    prompts = ["slowly zoom in", "pan to the left", "zoom out", "the camera turns clockwise", "pan to the right"]
    for k in range(count):
        picture, asked = small(paths[k % len(paths)]), dict(seed=k, **ASKED)
        bare, layer = field_of(pipe, picture, mix=[], prompt=prompts[k % len(prompts)], **asked)
        rows, cols = np.nonzero(layer > 0.5)
        if len(rows) < 12:
            continue
        high, wide = layer.shape
        x, y = (np.median(cols) + 0.5) / wide, (np.median(rows) + 0.5) / high
        up = dict(arrows=[dict(points=[(x, y), (x, y - 0.1)])])
        box = ((cols.min()) / wide, rows.min() / high, (cols.max() + 1) / wide, (rows.max() + 1) / high)
        walk = dict(regions=[dict(area=dict(box=tuple(map(float, box))), action="walk", direction="left")])
        hold = dict(still=[dict(box=(0.4, 0.75, 0.6, 0.9))])
        for name, drawn in dict(arrow=up, region=walk, held=hold, both=up | dict(way="both")).items():
            led, _ = field_of(pipe, picture, mix=[ActionGuidance(**drawn)], prompt=prompts[k % len(prompts)], **asked)
            far = [led[1:, :, r, c] for r in (0, -1) for c in (0, -1) if layer[r, c] < 0.1]
            free = [bare[1:, :, r, c] for r in (0, -1) for c in (0, -1) if layer[r, c] < 0.1]
            if free and np.square(free).mean() > 1e-3:
                kept[name].append(float((np.array(far) * free).sum() / np.square(free).sum()))
        print(k, paths[k % len(paths)].name, {n: round(v[-1], 2) for n, v in kept.items() if v}, flush=True)
    out = dict(clips=len(kept["arrow"]))
    for name, values in kept.items():
        out |= {name: round(float(np.mean(values)), 3), f"{name}_least": round(min(values), 3)}
    return out


def field_of(pipe, picture, **asked) -> tuple[np.ndarray, np.ndarray]:
    """The motion of a clip's latents `[T,2,h,w]`, and its subject `[h,w]`."""
    events = []
    pipe.generate(picture, progress=events.append, **asked)
    latents = [e.payload for e in events if e.stage == "denoise"][-1]
    motion = pipe.motion_of(latents)[0].numpy()
    return motion - motion[:1], pipe.subject_of(latents)[0].numpy()


def strength(pipe, count: int) -> dict:
    """Strength against observed motion: rank correlation of every arrow."""
    rng, paths, found = np.random.default_rng(2), photos("heldout"), []
    for k in range(count):
        picture = small(paths[k % len(paths)])
        drawn = dict(arrows=random_arrows(picture, rng, 2))
        seen = response(pipe, picture, "the camera holds still", drawn, seed=k, **ASKED)
        ranks = seen.rank_correlation[np.isfinite(seen.share).sum(0) >= 4]  # seen at four of six strengths or more
        found += ranks.tolist()
        print(k, paths[k % len(paths)].name, np.round(seen.share, 2).tolist(), flush=True)
    return dict(
        arrows=len(found),
        mean_rank_correlation=round(float(np.mean(found)), 4),
        lowest=round(min(found), 4),
        monotone=sum(r > 0.999 for r in found),
    )


def cost(pipe, turns: int = 9) -> dict:
    """CPU time of the denoising steps, with over without, in turns."""
    picture = small(photos("heldout")[0])
    arrows = random_arrows(picture, np.random.default_rng(0), 4)
    spent = {name: [] for name in ("without", "pull", "both")}
    for _ in range(turns):
        for name in spent:
            mix = [] if name == "without" else [ActionGuidance(arrows=arrows, way=name)]
            marks = []
            pipe.generate(
                picture, "zoom in", mix=mix, progress=lambda e, m=marks: m.append((e.stage, time.process_time()))
            )
            times = [t for stage, t in marks if stage in ("condition", "denoise")]
            spent[name].append(times[-1] - times[0])
    ratio = lambda name: round(float(np.median(np.array(spent[name]) / spent["without"])), 4)
    return dict(turns=turns, steps=pipe.defaults["num_inference_steps"], pull=ratio("pull"), both=ratio("both"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["clips", "held", "words", "strength", "cost"])
    parser.add_argument("--photos", type=int, default=21)
    parser.add_argument("--train", type=Path)
    parser.add_argument("--designs", type=Path)
    asked = parser.parse_args()
    pipe = lab.load_pipeline(device="cpu", dtype="fp32", threads=1)
    if asked.train:
        return train(pipe, asked.train)
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if asked.designs:
        found["designs"] = designs(pipe, asked.designs)
    parts = dict(
        clips=lambda: clips(pipe, 2 * asked.photos),
        held=lambda: held(pipe, asked.photos),
        words=lambda: words(pipe, asked.photos),
        strength=lambda: strength(pipe, max(1, asked.photos // 3)),
        cost=lambda: cost(pipe),
    )
    for name, measure in parts.items():
        if asked.only == name or (asked.only is None and not asked.designs):
            found[name] = measure()
            print(name, found[name], flush=True)
    found["branch"] = about_branch(BRANCH)
    with atomic_path(RESULTS) as draft:
        Path(draft).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
