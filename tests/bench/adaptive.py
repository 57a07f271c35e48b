"""Measure `adaptive_patch` against the square resize on held-out pictures: `python tests/bench/adaptive.py [--quick]`.

Prints one JSON object. `grids`: the grid arithmetic for every size of 128..1100 x 128..1300, step 8, beside timm's own.
`forward`: the shipped encoder on a random sample of them. `small`: how well the subject of a small picture is found on as
many tokens as it has pixels for, and on all. `motion`: scenes of exactly known geometry (a held-out cut-out on a held-out
photo) at three sizes, without and with the extension, everything else equal:

- the subject: overlap (IoU) of the map read with the true mask, how far its centre is off (half shorter sides), how far
  its extent is off (mean of |log ratio| of width and height), whether the side it faces is read right;
- the motion: of each generated clip, the *nearest exact motion* of its action is fitted by least squares, frame by frame.
  Exact motions of walk and run move the true mask and nothing else (translation and rocking); those of a camera move the
  whole picture (zoom: growth about any point, rotate: a turn, pan: a translation). `pixels` is the mean end-point error
  to it over the picture, `error` the same as a share of how far that exact motion goes, at most 1, which is also the
  error of a clip that stands still; `error_on_subject` counts the true mask only (a walk moves a small part of the
  picture, so faint motion of the rest weighs much in `error`); `right_way`: does the subject go to the side it faces;
- `anisotropy` of rotate and zoom: the share of the fitted linear map that is no similarity, in the background.

`change` compares the means without and with it, with a 95 % interval from 2,000 bootstrap samples of the scenes.
"""

import argparse
import itertools
import json
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from figures import PLAIN, figures_of
from timm.data.naflex_transforms import get_image_size_for_seq

import i2v_lab as lab
from i2v_lab.core.actions import Action
from i2v_lab.core.files import atomic_path
from i2v_lab.core.picture import load_picture
from i2v_lab.extensions.adaptive_patch import FULL, NEAR, best_grid, stretch
from i2v_lab.model.temporal_decoder import cell_centres, extent_of
from i2v_lab.training.examples import has_somebody, is_crowded
from i2v_lab.training.sources import photos

SIZES = ((720, 1280), (1280, 720), (1024, 1024))  # (height, width)
CELL = 20  # pixels: where fields are compared
MOVES = {a: p for a, p in PLAIN.items() if a is not Action.STATIC}
WALKS = [a for a in MOVES if a.moves_subject]
MAX = 256


def timms_grid(size: tuple[int, int]) -> tuple[int, int]:
    return tuple(n // 16 for n in get_image_size_for_seq(size, 16, MAX)[1])


def measure_grids() -> dict:
    "The arithmetic, for all sizes."
    sizes, out = list(itertools.product(range(128, 1101, 8), range(128, 1301, 8))), {}
    for name, way in (("adaptive_patch", best_grid), ("timm", timms_grid)):
        grids = [way(size) for size in sizes]
        wrong = np.array([stretch(g, s) for g, s in zip(grids, sizes)])
        used = np.array([r * c for r, c in grids]) / MAX
        plain = np.array([max(s) <= 2.6 * min(s) for s in sizes])
        out[name] = dict(
            sizes=len(sizes),
            exceed_max_patches=int((used > 1).sum()),
            stretch_percent={
                k: round(100 * float(v), 2)
                for k, v in zip(
                    ("mean", "median", "p95", "largest"),
                    (wrong.mean(), *np.percentile(wrong, [50, 95]), wrong.max()),
                )
            },
            tokens_percent=dict(mean=round(100 * float(used.mean()), 2), fewest=round(100 * float(used.min()), 2)),
            near_and_full_percent=round(100 * float(((wrong <= NEAR) & (used >= FULL)).mean()), 2),
            near_and_full_up_to_2_6_to_1_percent=round(
                100 * float(((wrong <= NEAR) & (used >= FULL))[plain].mean()), 2
            ),
            at={f"{h}x{w}": [*way((h, w)), round(100 * float(stretch(way((h, w)), (h, w))), 2)] for h, w in SIZES},
        )
    return out


def measure_forward(pipe, count: int) -> dict:
    "The encoder's own word for it."
    rng, wrong, over = np.random.default_rng(4), 0, 0
    with pipe.using("adaptive_patch"):
        for _ in range(count):
            size = int(rng.integers(16, 138)) * 8, int(rng.integers(16, 163)) * 8
            read = pipe.encode_image(rng.integers(0, 255, (*size, 3), np.uint8))
            wrong += read.grid != best_grid(size, MAX) or read.tokens.shape[1] != read.grid[0] * read.grid[1]
            over += read.tokens.shape[1] > MAX
    return dict(sizes=count, grid_differs_from_tokens=int(wrong), exceed_max_patches=int(over))


def scenes(size: tuple[int, int], count: int) -> list[tuple[np.ndarray, np.ndarray, int]]:  # picture, mask, side faced
    "Held-out cut-outs, at the side that they face away from, on held-out photos where nobody else is."
    rng, groups, (H, W), out = np.random.default_rng(5), {}, size, []
    for cutout, label in figures_of():
        if label.facing:
            groups.setdefault(label.group, []).append((cutout, label))
    members = [m for _, m in sorted(groups.items())]
    paths = [p for p in photos("heldout") if not has_somebody(p) and not is_crowded(p)]
    for i in range(count):
        pool = members[i % len(members)]
        (cutout, label), photo = pool[rng.integers(len(pool))], load_picture(paths[rng.integers(len(paths))])
        f = max(H / photo.shape[0], W / photo.shape[1])
        wide = max(W, round(photo.shape[1] * f)), max(H, round(photo.shape[0] * f))
        photo = cv2.resize(photo, wide, interpolation=cv2.INTER_AREA if f < 1 else cv2.INTER_CUBIC)
        y, x = (photo.shape[0] - H) // 2, (photo.shape[1] - W) // 2
        picture = photo[y : y + H, x : x + W].copy()
        f = min(rng.uniform(0.35, 0.6) * H / cutout.shape[0], 0.5 * W / cutout.shape[1])
        layer = cv2.resize(cutout, None, fx=f, fy=f, interpolation=cv2.INTER_AREA if f < 1 else cv2.INTER_LINEAR)
        layer = np.clip(layer, 0, 1)
        h, w = layer.shape[:2]
        x = rng.uniform(0.05, 0.3) * W if label.facing > 0 else rng.uniform(0.7, 0.95) * W - w
        x, y = int(np.clip(x, 0, W - w)), int(0.95 * H) - h
        part, alpha, mask = picture[y : y + h, x : x + w], layer[..., 3:], np.zeros(size, np.float32)
        part[:] = (255 * layer[..., :3] * alpha + (1 - alpha) * part + 0.5).astype(np.uint8)
        mask[y : y + h, x : x + w] = alpha[..., 0]
        out.append((picture, mask, label.facing))
    return out


def coarse(mask: np.ndarray, grid: tuple[int, int]) -> torch.Tensor:
    return torch.from_numpy(cv2.resize(mask, grid[::-1], interpolation=cv2.INTER_AREA))


def iou(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a & b).sum() / (a | b).sum().clamp(min=1))


def centre(weight: torch.Tensor, p: torch.Tensor) -> torch.Tensor:  # `[h,w]`, `[2,h,w]` to `[2]`
    return (weight * p).sum((1, 2)) / (weight.sum() + 1e-4)


def spread(weight: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    return centre(weight, (p - centre(weight, p)[:, None, None]) ** 2).sqrt() + 1e-3


def read_subject(read, mask: torch.Tensor, p: torch.Tensor, way: int) -> dict:
    found = F.interpolate(read.subject, mask.shape, mode="bilinear")[0, 0].sigmoid()
    return dict(
        iou=iou(found > 0.5, mask > 0.5),
        centre=float((centre(found, p) - centre(mask, p)).norm()),
        extent=float((spread(found, p) / spread(mask, p)).log().abs().mean()),
        facing=float(float(read.facing[0]) * way > 0),
    )


def motion_of(pipe, read, words, seed: int) -> torch.Tensor:  # `[T,2,h,w]` half shorter sides
    "What `generate` would draw, without drawing it."
    cond = pipe.condition(read, words)
    cond.cfg_scale = pipe.defaults["cfg_scale"]
    scheduler = pipe.make_scheduler(pipe.defaults["num_inference_steps"])
    latents = pipe.starting_noise(pipe.latent_shape(read, pipe.defaults["num_frames"]), seed)
    for t in scheduler.timesteps:
        latents = scheduler.step(pipe.denoise(latents, t, cond), t, latents, return_dict=False)[0]
    return latents[0, :, :2].cpu() / pipe.model.decoder.scale


def exact_motions(action: Action, mask: torch.Tensor, p: torch.Tensor) -> torch.Tensor:  # `[K,2,h,w]`
    "A basis of the exact motions of an action."
    one, zero = torch.ones_like(p[0]), torch.zeros_like(p[0])
    right, down = torch.stack([one, zero]), torch.stack([zero, one])
    q = p - centre(mask, p)[:, None, None] if action.moves_subject else p
    turn = torch.stack([-q[1], q[0]])
    if action.moves_subject:
        return torch.stack([turn, right, down]) * mask
    if action is Action.ROTATE:
        return turn[None]
    return torch.stack([right, down] if action.value.startswith("pan") else [q, right, down])


def projected(motion: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:  # `[T,2,h,w]`
    "The member of a family that is nearest to a motion, frame by frame."
    b = basis.flatten(1).T
    return (b @ torch.linalg.lstsq(b, motion.flatten(1).T).solution).T.reshape(motion.shape)


def anisotropy(motion: torch.Tensor, mask: torch.Tensor, p: torch.Tensor) -> float:
    "Of the last frame's linear map, fitted where the subject is not: the share that is no similarity."
    away = mask < 0.05
    rows = torch.stack([p[0][away], p[1][away], torch.ones(int(away.sum()))], -1)
    a = torch.linalg.lstsq(rows, motion[-1][:, away].T).solution[:2].T  # 2 x 2
    alike = torch.tensor([[a[0, 0] + a[1, 1], a[0, 1] - a[1, 0]], [a[1, 0] - a[0, 1], a[0, 0] + a[1, 1]]]) / 2
    return float((a - alike).norm() / (a.norm() + 1e-9))


def measure_scene(pipe, scene: tuple, words: dict, seed: int) -> dict[str, float]:
    "One scene as the pipeline stands."
    (picture, mask, way), row = scene, {}
    size = picture.shape[:2]
    grid = round(size[0] / CELL), round(size[1] / CELL)
    mask, p = coarse(mask, grid), cell_centres(torch.tensor([extent_of(size)]), grid)[0]
    read = pipe.encode_image(picture)
    row |= {f"subject.{k}": v for k, v in read_subject(read, mask, p, way).items()}
    for action, said in words.items():
        motion = F.interpolate(motion_of(pipe, read, said, seed), grid, mode="bilinear")
        exact = projected(motion, exact_motions(action, mask, p))
        off, far = (float(m.norm(dim=1).mean()) for m in (motion - exact, exact))
        row[f"{action.value}.pixels"] = off * min(size) / 2
        row[f"{action.value}.error"] = min(1.0, off / far) if far > 1e-6 else 1.0
        if action.moves_subject:
            off, far = (float((m.norm(dim=1) * mask).mean()) for m in (motion - exact, exact))
            row[f"{action.value}.error_on_subject"] = min(1.0, off / far) if far > 1e-6 else 1.0
            row[f"{action.value}.right_way"] = float(float((motion[-1, 0] * mask).sum()) * way > 0)
        if action is Action.ROTATE or action.value.startswith("zoom"):
            row[f"{action.value}.anisotropy"] = anisotropy(motion, mask, p)
    row["walk_run.error_on_subject"] = float(np.mean([row[f"{a.value}.error_on_subject"] for a in WALKS]))
    for name, actions in (("walk_run", WALKS), ("camera", [a for a in MOVES if a not in WALKS]), ("all", list(MOVES))):
        for what in ("error", "pixels"):
            row[f"{name}.{what}"] = float(np.mean([row[f"{a.value}.{what}"] for a in actions]))
    return row


def compared(off: np.ndarray, on: np.ndarray) -> dict:
    "Means without and with the extension, and the change in percent with its interval."
    picks = np.random.default_rng(0).integers(0, len(off), (2000, len(off)))
    change = lambda a, b: 100 * (b / np.maximum(a, 1e-9) - 1)
    low, high = np.percentile(change(off[picks].mean(1), on[picks].mean(1)), [2.5, 97.5])
    return dict(
        off=round(float(off.mean()), 4),
        on=round(float(on.mean()), 4),
        change_percent=[round(float(v), 1) for v in (change(off.mean(), on.mean()), low, high)],
    )


def measure_motion(pipe, count: int, options: dict, sizes: tuple[tuple[int, int], ...] = SIZES) -> dict:
    "The same scenes and seeds without and with the extension."
    words, out = {a: pipe.encode_prompt(prompt) for a, prompt in MOVES.items()}, {}
    for size in sizes:
        jobs = list(enumerate(scenes(size, count)))
        off = [measure_scene(pipe, scene, words, seed) for seed, scene in jobs]
        with pipe.using({"adaptive_patch": options}):
            on = [measure_scene(pipe, scene, words, seed) for seed, scene in jobs]
        out["x".join(map(str, size))] = dict(
            scenes=count, **{k: compared(*(np.array([r[k] for r in rows]) for rows in (off, on))) for k in off[0]}
        )
    return out


def measure_small(pipe, count: int) -> dict:
    "Subjects of small pictures, on tokens of the picture's own pixels, of twice the pixels, and on all."
    out = {}
    for size in ((64, 64), (96, 128), (72, 128)):
        own, found = size[0] * size[1] // 256, {}
        for tokens in (max(own, 16), 4 * own, MAX):
            hits = []
            with pipe.using({"adaptive_patch": dict(max_patches=min(tokens, MAX))}):
                for picture, mask, _ in scenes(size, count):
                    read = F.interpolate(pipe.encode_image(picture).subject, (72, 72), mode="bilinear")[0, 0]
                    hits.append(iou(read > 0, coarse(mask, (72, 72)) > 0.5))
            found[f"{min(tokens, MAX)} tokens"] = round(float(np.mean(hits)), 3)
        out["x".join(map(str, size))] = found
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="8 scenes per size instead of 40")
    parser.add_argument("--scenes", type=int, help="per size")
    parser.add_argument("--only", default="grids,forward,small,motion")
    parser.add_argument("--max-patches", type=int, default=MAX, help="of the extension in `motion`")
    parser.add_argument("--weights", help="measure these instead of the shipped ones")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    args = parser.parse_args()
    count, parts = args.scenes or (8 if args.quick else 40), args.only.split(",")
    pipe = lab.load_pipeline(**({"weights": args.weights} if args.weights else {}))
    found = dict(weights_sha256=pipe.weights_sha256, threads=torch.get_num_threads())
    with torch.inference_mode():
        if "grids" in parts:
            found["grids"] = measure_grids()
        if "forward" in parts:
            found["forward"] = measure_forward(pipe, 40)
        if "small" in parts:
            found["small"] = measure_small(pipe, count)
        if "motion" in parts:
            found["motion"] = measure_motion(pipe, count, dict(max_patches=args.max_patches))
    text = json.dumps(found, indent=1)
    print(text)
    if args.out:
        with atomic_path(args.out) as temporary:
            Path(temporary).write_text(text + "\n")


if __name__ == "__main__":
    main()
