"""Measure what the renderer invents, where the truth is known: `python tests/bench/fill.py`.

Three scenes, of held-out photos and cut-outs only. **border**: a photo is cropped, a camera moves, and what it uncovers is
compared with the photo beyond the crop. **hole**: a cut-out hides a part of a photo, and the filled part is compared with
the photo. **cut-out**: a pasted cut-out is found again from a soft, worn 32x32 layer of it.
SSIM alone prefers a blur, so there is the energy of gradients beside it, as a share of the true content's: a good fill has
both, a high SSIM and an energy near 1. Prints one JSON object and writes it to `i2v_lab/weights/fill.json`; `--quick` takes every
sixth scene and writes nothing; `--split train` is for tuning and writes nothing either.
"""

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from skimage.metrics import structural_similarity
from skimage.restoration import inpaint_biharmonic

import i2v_lab as lab
from i2v_lab.core.actions import Action
from i2v_lab.core.files import atomic_path
from i2v_lab.core.picture import load_picture
from i2v_lab.model.fill import fill_hole
from i2v_lab.model.outline import cut_out
from i2v_lab.model.renderer import Renderer, grid_points, pixel_matrix, similarity_field
from i2v_lab.training.known_motion import draw_motion, render_known
from i2v_lab.training.sources import cutouts, load_cutout, photos

SIDE = 256  # shorter side of a frame, pixels
MOVES = (Action.PAN_LEFT, Action.ZOOM_OUT, Action.ROTATE, Action.PAN_RIGHT)
SHOWN = [0, 5, 10, 15]  # frames of a clip that are drawn; the first is the picture


def small_biharmonic(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    "Biharmonic inpainting of a copy a fourth of the size, which is what is affordable."
    size = max(8, hole.shape[1] // 4), max(8, hole.shape[0] // 4)
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    small_hole = cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    if small_hole.all():
        return picture
    filled = np.clip(inpaint_biharmonic(small / 255.0, small_hole, channel_axis=-1), 0, 1)
    filled = cv2.resize((255 * filled).astype(np.uint8), hole.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return np.where(hole[..., None], filled, picture)


LIBRARY = dict(
    telea=lambda im, hole: cv2.inpaint(im, hole.astype(np.uint8), 5, cv2.INPAINT_TELEA),
    navier_stokes=lambda im, hole: cv2.inpaint(im, hole.astype(np.uint8), 5, cv2.INPAINT_NS),
    biharmonic=small_biharmonic,
)
EXTENDED = dict(
    mirror=lambda im, pad: cv2.copyMakeBorder(im, pad, pad, pad, pad, cv2.BORDER_REFLECT_101),
    replicate=lambda im, pad: cv2.copyMakeBorder(im, pad, pad, pad, pad, cv2.BORDER_REPLICATE),
)


def extend(picture: np.ndarray, pad: int, fill) -> np.ndarray:
    "Put a margin around a picture and have it filled by inpainting."
    wide = cv2.copyMakeBorder(picture, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    hole = np.ones(wide.shape[:2], bool)
    hole[pad:-pad, pad:-pad] = False
    return fill(wide, hole)


def gradient(frame: np.ndarray) -> np.ndarray:  # `[H,W]`
    "Squared Sobel gradient of the grey values."
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return cv2.Sobel(grey, -1, 1, 0) ** 2 + cv2.Sobel(grey, -1, 0, 1) ** 2


def compare(frame: np.ndarray, truth: np.ndarray, where: np.ndarray) -> dict:
    "SSIM, PSNR and the energy of gradients, of the filled pixels only; and that of the seam alone."
    ssim = structural_similarity(frame, truth, channel_axis=2, data_range=255, full=True)[1][where].mean()
    error = ((frame.astype(np.float32) - truth) ** 2)[where].mean()
    rim = np.ones((3, 3), np.uint8)
    deep = cv2.erode(where.astype(np.uint8), rim, iterations=3, borderValue=1) > 0
    seam = (cv2.dilate(where.astype(np.uint8), rim) > 0) & ~(cv2.erode(where.astype(np.uint8), rim, borderValue=1) > 0)
    energy = lambda at: float(gradient(frame)[at].mean() / (gradient(truth)[at].mean() + 20)) if at.any() else 1.0  # noqa: E731
    return dict(
        ssim=float(ssim), psnr=float(10 * np.log10(255**2 / (error + 1e-3))), energy=energy(deep), seam=energy(seam)
    )


def table(rows: dict[str, list[dict]]) -> dict:
    "Means of SSIM and PSNR and medians of energies, a row per method."
    middle = lambda name: np.median if name in ("energy", "seam") else np.mean  # noqa: E731
    return {
        method: {k: round(float(middle(k)([f[k] for f in found])), 3) for k in found[0] if k != "scene"}
        | dict(scenes=len({f["scene"] for f in found}))
        for method, found in ((m, [dict(f) for f in fs]) for m, fs in rows.items())
        for found in [found]
    }


def measure_border(split: str, every: int) -> dict:
    "What a camera uncovers, against the photo that was cropped."
    rng, rows = np.random.default_rng(5), defaultdict(list)
    for i, path in enumerate(photos(split)[::every]):
        photo = load_picture(path)
        f = 1.7 * SIDE / min(photo.shape[:2])
        photo = cv2.resize(photo, None, fx=f, fy=f, interpolation=cv2.INTER_AREA if f < 1 else cv2.INTER_CUBIC)
        margin = int(0.35 * SIDE)
        picture = photo[margin:-margin, margin:-margin].copy()
        size = picture.shape[:2]
        motion = draw_motion(MOVES[i % len(MOVES)], rng, size=size)
        truth = render_known(photo, motion, margin=margin).frames[SHOWN]
        camera, p = motion.camera[SHOWN], grid_points((32, 32), size)
        clips = dict(ours=Renderer()(picture, similarity_field(camera, p), np.zeros((32, 32), np.float32)))
        wide = {n: g(picture, margin) for n, g in EXTENDED.items()}
        wide |= {n: extend(picture, margin, g) for n, g in LIBRARY.items()}
        back = np.array([[1, 0, -margin], [0, 1, -margin], [0, 0, 1]])
        for name, big in wide.items():
            clips[name] = [
                cv2.warpAffine(big, (pixel_matrix(c, size) @ back)[:2], size[::-1], flags=cv2.INTER_CUBIC)
                for c in camera
            ]
        inside, known = np.ones(size, np.uint8), np.ones(photo.shape[:2], np.uint8)
        for t in range(1, len(SHOWN)):
            m = pixel_matrix(camera[t], size)
            uncovered = cv2.warpAffine(inside, m[:2], size[::-1], flags=cv2.INTER_NEAREST) == 0
            uncovered &= cv2.warpAffine(known, (m @ back)[:2], size[::-1], flags=cv2.INTER_NEAREST) > 0
            if uncovered.mean() > 0.01:
                for name, clip in clips.items():
                    rows[name].append(compare(clip[t], truth[t], uncovered) | dict(scene=i))
    return rows


def paste(photo: np.ndarray, cutout: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    "A cut-out somewhere on the ground of a photo; the picture and the true alpha."
    H, W = photo.shape[:2]
    f = min(rng.uniform(0.4, 0.65) * H / cutout.shape[0], 0.7 * W / cutout.shape[1])
    cutout = np.clip(cv2.resize(cutout, None, fx=f, fy=f, interpolation=cv2.INTER_AREA), 0, 1)
    h, w = cutout.shape[:2]
    x, y = int(rng.uniform(0.05, 0.95) * (W - w)), int(0.95 * H) - h
    alpha = np.zeros((H, W), np.float32)
    alpha[y : y + h, x : x + w] = cutout[..., 3]
    picture = photo.copy()
    part = picture[y : y + h, x : x + w]
    part[:] = 255 * cutout[..., :3] * cutout[..., 3:] + (1 - cutout[..., 3:]) * part + 0.5
    return picture, alpha


def worn_layer(alpha: np.ndarray, rng: np.random.Generator) -> np.ndarray:  # `[32,32]` 0..1
    "A layer such as a model predicts: soft, uneven, and thin parts half lost."
    layer = cv2.GaussianBlur(cv2.resize(alpha, (32, 32), interpolation=cv2.INTER_AREA), (0, 0), 0.8)
    uneven = cv2.GaussianBlur(rng.normal(0, 1, (32, 32)).astype(np.float32), (0, 0), 1.5)
    return np.clip(1 / (1 + np.exp(-9 * (layer - 0.48 + 0.12 * uneven / uneven.std()))), 0, 1)


def scenes(split: str, every: int, side: int):
    "Photos with a cut-out on each: `(photo, picture, alpha, rng)`."
    figures = cutouts(split)
    for i, path in enumerate(photos(split)[::every]):
        rng = np.random.default_rng(100 + i)
        photo = load_picture(path)
        f = side / min(photo.shape[:2])
        photo = cv2.resize(photo, None, fx=f, fy=f, interpolation=cv2.INTER_AREA if f < 1 else cv2.INTER_CUBIC)
        figure = load_cutout(figures[rng.integers(len(figures))])
        yield photo, *paste(photo, figure, rng), rng


def measure_hole(split: str, every: int) -> dict:
    "What a cut-out hid, against the photo."
    rows = defaultdict(list)
    for i, (photo, picture, alpha, _) in enumerate(scenes(split, every, SIDE)):
        r = 2 * max(2, round(SIDE / 50)) + 1
        hole = cv2.dilate((alpha > 0.02).astype(np.uint8), np.ones((r, r), np.uint8)) > 0
        for name, g in (dict(ours=fill_hole) | LIBRARY).items():
            rows[name].append(compare(g(picture, hole), photo, hole) | dict(scene=i))
    return rows


def measure_cut_out(split: str, every: int) -> dict:
    "How much of a pasted cut-out is found again, and how much of its thin parts."
    rows = defaultdict(list)
    for i, (_, picture, alpha, rng) in enumerate(scenes(split, every, 384)):
        truth, layer = alpha > 0.5, worn_layer(alpha, rng)
        r = 2 * round(0.06 * np.sqrt(truth.sum())) + 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (r, r))
        thin = truth & (cv2.morphologyEx(truth.astype(np.uint8), cv2.MORPH_OPEN, disc) == 0)
        coarse = cv2.resize(layer, truth.shape[::-1], interpolation=cv2.INTER_CUBIC)
        for name, found in dict(ours=cut_out(picture, layer) > 0.5, layer=coarse > 0.5).items():
            both, either = (found & truth).sum(), (found | truth).sum()
            kept = float((found & thin).sum() / thin.sum()) if thin.any() else 1.0
            leak = float((found & ~truth).sum() / truth.sum())
            rows[name].append(dict(iou=float(both / max(either, 1)), thin=kept, leak=leak, scene=i))
    return rows


MEASURES = dict(border=measure_border, hole=measure_hole, cut_out=measure_cut_out)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--split", default="heldout", choices=("heldout", "train"))
    parser.add_argument("--only", default=",".join(MEASURES))
    args = parser.parse_args()
    cv2.setNumThreads(1)
    figures, start = {}, time.perf_counter()
    for part in args.only.split(","):
        figures[part] = table(MEASURES[part](args.split, 6 if args.quick else 1))
    figures["seconds"] = round(time.perf_counter() - start, 1)
    print(json.dumps(figures, indent=1))
    if not args.quick and args.split == "heldout" and args.only == ",".join(MEASURES):
        with atomic_path(Path(lab.__file__).parent / "weights" / "fill.json") as temporary:
            Path(temporary).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
