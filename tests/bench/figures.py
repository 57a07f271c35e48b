"""Measure the shipped model and the judge on held-out photos: `python tests/bench/figures.py`.

Prints each figure and writes them all to `i2v_lab/weights/figures.json`; `tests/bench/card.py` makes the model card of it.
Nothing measured here was trained on: photos, cut-outs and wordings are those of the held-out split.
`--only unwatched` needs the fetched photos and is not in the default; `--quick` takes every third photo and writes nothing; `--only judge,model` measures a part, and keeps the other figures
if they are of the same weights.
"""

import argparse
import csv
import functools
import json
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import torch

import i2v_lab as lab
from i2v_lab.core.actions import Action
from i2v_lab.core.files import atomic_path
from i2v_lab.core.picture import load_picture
from i2v_lab.study.judge import judge
from i2v_lab.training.examples import has_somebody
from i2v_lab.training.known_motion import Subject, draw_motion, render_known
from i2v_lab.training.sources import cutouts, data_root, labels, load_cutout, photos

CAMERA = [
    Action.STATIC,
    *(a for a in Action if a.is_camera),
]  # the six that are about the camera, standing still included
PLAIN = {a: a.value.replace("_", " ") for a in Action} | {
    Action.STATIC: "nothing moves",
    Action.ROTATE: "the camera rotates",
    Action.ZOOM_IN: "the camera zooms in",
    Action.ZOOM_OUT: "the camera zooms out",
    Action.PAN_LEFT: "the camera pans left",
    Action.PAN_RIGHT: "the camera pans right",
}


def share(hits: list[bool]) -> dict:
    "A share with its count and 95 % Wilson interval."
    n, p, z = len(hits), float(np.mean(hits)), 1.96
    middle, half = (
        (p + z * z / (2 * n)) / (1 + z * z / n),
        z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n),
    )
    return dict(
        share=round(p, 4), n=n, low=round(float(max(0, middle - half)), 3), high=round(float(min(1, middle + half)), 3)
    )


def shipped(split: str = "heldout", every: int = 1) -> list[Path]:
    "Held-out photos that ship with the repository, so that anybody can run this."
    root = data_root()
    return [p for p in photos(split, root) if p.parent == root / "photos"][::every]


def known_clip(path: Path, action: Action, rng: np.random.Generator, figures: list) -> lab.Clip:
    "A clip of exactly known motion of a held-out photo; walkers are held-out cut-outs."
    photo, side = load_picture(path), 288
    f = 1.7 * side / min(photo.shape[:2])
    photo = cv2.resize(photo, None, fx=f, fy=f, interpolation=cv2.INTER_AREA if f < 1 else cv2.INTER_CUBIC)
    margin = int(0.35 * side)
    height, width = (n - 2 * margin for n in photo.shape[:2])
    if not action.moves_subject:
        return render_known(photo, draw_motion(action, rng, size=(height, width)), margin=margin)
    cutout, label = figures[rng.integers(len(figures))]
    f = rng.uniform(0.35, 0.6) * height / cutout.shape[0]
    cutout = np.clip(cv2.resize(cutout, None, fx=f, fy=f, interpolation=cv2.INTER_AREA), 0, 1)
    h, w = cutout.shape[:2]
    way = label.facing or 1
    x = int(rng.uniform(0.05, 0.3) * width) if way > 0 else int(rng.uniform(0.7, 0.95) * width - w)
    unit = min(height, width) / 2
    subject = Subject(0, 0, w / unit, h / unit, way, label.kind != "vehicle")
    motion = draw_motion(action, rng, subject=subject, size=(height, width))
    return render_known(photo, motion, margin=margin, cutout=cutout, at=(x, int(0.95 * height) - h))


def measure_judge(every: int) -> dict:
    "The judge on clips whose motion is known exactly."
    rng, known = np.random.default_rng(11), labels(data_root())
    figures = [(load_cutout(p), known[p.stem]) for p in cutouts("heldout") if p.stem in known]
    rows = [(a, judge(known_clip(p, a, rng, figures)).action) for p in shipped(every=every) for a in Action]
    as_class = lambda a: "subject" if a in ("walk", "run") else str(a)
    return dict(
        judge_camera_static_subject=share([as_class(a) == as_class(b) for a, b in rows]),
        judge_eight=share([a == b for a, b in rows]),
        judge_wrong=dict(Counter(f"{a} seen as {b}" for a, b in rows if as_class(a) != as_class(b))),
    )


def measure_model(pipe, every: int, seeds: int = 1) -> dict:
    "The shipped model on held-out photos, the action named plainly in the prompt."
    camera, subject, details, whole = [], [], Counter(), []
    for path in shipped(every=every):
        picture = load_picture(path)
        for seed in range(seeds):
            for action in CAMERA + ([Action.WALK, Action.RUN] if has_somebody(path) else []):
                seen = judge(pipe.generate(picture, PLAIN[action], seed=seed))
                details[f"{action} seen as {seen.action}"] += 1
                if action in CAMERA:
                    camera.append(seen.action == action)
                else:
                    subject.append(seen.action in ("walk", "run"))
                    whole.append(seen.action in {str(a) for a in Action if a.is_camera})
    as_asked = [
        [seen == f"{a} seen as {a}"] * n for a in ("walk", "run") for seen, n in details.items() if seen.startswith(a)
    ]
    return dict(
        camera_as_asked=share(camera),
        walk_run_as_asked=share(sum(as_asked, [])),
        walk_run_subject_moves=share(subject),
        walk_run_whole_picture_moves=share(whole),
        seen=dict(sorted(details.items())),
    )


def last_latents(pipe, picture: np.ndarray, prompt: str) -> np.ndarray:
    "The clean latents of one run, `[T,3,h,w]`."
    kept = {}
    pipe.generate(picture, prompt, seed=1, progress=lambda e: kept.update({e.stage: e.payload}))
    return kept["denoise"][0].cpu().numpy()


def measure_motion(pipe, every: int) -> dict:
    "How far subject and background go in walk and run, read from the latents' own layers."
    from i2v_lab.model.renderer import grid_points, similarity_field, split_layers

    own, back = [], []
    for path in shipped(every=every):
        if not has_somebody(path):
            continue
        picture = load_picture(path)
        latents = last_latents(pipe, picture, "it runs")
        layer = np.clip((latents[:, 2].mean(0) + 1) / 2, 0, 1)
        if layer.max() < 0.5:
            continue  # nobody was found: nobody can run
        layers = split_layers(latents[:, :2] / pipe.model.decoder.scale, layer, picture.shape[:2])
        p = grid_points(layer.shape, picture.shape[:2])
        on, off = layer / layer.sum(), (1 - layer) / (1 - layer).sum()
        way = lambda numbers, w: float(np.hypot(*(similarity_field(numbers[-1:], p)[0] * w).sum((1, 2))))  # noqa: B023
        own.append(way(layers.subject, on))
        back.append(way(layers.camera, off))
    return dict(
        run_subject_way=round(float(np.median(own)), 3),
        run_background_way=round(float(np.median(back)), 3),
        run_pictures=len(own),
    )


def measure_unwatched(pipe, every: int) -> dict:
    "The camera figure on held-out photos that do not ship (`i2v-lab data fetch`), of which no clip was watched."
    root = data_root()
    paths = [p for p in photos("heldout", root) if p.parent != root / "photos"][::every]
    if not paths:
        raise SystemExit("no fetched photos; run: i2v-lab data fetch")
    hits = [judge(pipe.generate(p, PLAIN[a], seed=0)).action == a for p in paths for a in CAMERA]
    return dict(camera_as_asked_unwatched=share(hits))


def measure_direction(pipe, every: int) -> dict:
    "Whether a walk goes to the side, and a rotation turns the way, that the words ask for; from the latents' layers."
    from i2v_lab.model.renderer import split_layers

    hits = []
    for path in shipped(every=every):
        picture, side = load_picture(path), has_somebody(path)
        asked = [("turn the picture clockwise", 1), ("turn the picture counter-clockwise", -1)]
        asked += [("it walks to the right", 1), ("it walks to the left", -1)] if side else []
        for i, (prompt, sign) in enumerate(asked):
            latents = last_latents(pipe, picture, prompt)
            layer = np.clip((latents[:, 2].mean(0) + 1) / 2, 0, 1)
            layers = split_layers(latents[:, :2] / pipe.model.decoder.scale, layer, picture.shape[:2])
            went = layers.camera[-1, 1] if i < 2 else layers.subject[-1, 2]
            hits.append(bool(np.sign(went) == sign))
    return dict(direction_as_asked=share(hits))


def measure_prompts(pipe) -> dict:
    "Which action the text reader takes prompts for: a language model's, written without sight of the grammar, and held-out phrases of it."
    from i2v_lab.training.wordings import all_wordings

    def right(texts, actions):
        logits = torch.cat(
            [pipe.model.reader(*pipe.text(texts[i : i + 64])).action_logits for i in range(0, len(texts), 64)]
        )
        return [Action.names()[i] == a for i, a in zip(logits.argmax(-1).tolist(), actions)]

    with (data_root() / "heldout_prompts.csv").open(newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    grammar = all_wordings("heldout", per_action=150)
    with torch.inference_mode():
        return dict(
            prompts_written_apart=share(right([r["prompt"] for r in rows], [r["action"] for r in rows])),
            prompts_heldout_phrases=share(right([w.text for w in grammar], [w.action.value for w in grammar])),
        )


def measure_picture(pipe) -> dict:
    "Frame 0 against the picture, and the sharpness of panned frames where they show the picture, at three sizes."
    exact, sharp = [], {}
    grey = lambda im: cv2.cvtColor(im, cv2.COLOR_RGB2GRAY).astype(np.float32)  # noqa: E731
    energy = lambda im: float((cv2.Sobel(im, -1, 1, 0) ** 2 + cv2.Sobel(im, -1, 0, 1) ** 2).mean())  # noqa: E731
    source = load_picture(shipped()[0])
    for width, height in ((320, 240), (720, 1280), (1024, 1024)):
        picture = cv2.resize(source, (width, height), interpolation=cv2.INTER_AREA)
        kept = {}
        hear = lambda e, k=kept: k.update({e.stage: e.payload})
        clip = pipe.generate(picture, PLAIN[Action.PAN_LEFT], seed=0, progress=hear)
        exact.append(bool(np.array_equal(clip.frames[0], picture)) and clip.frames.shape[1:3] == (height, width))
        motion = kept["denoise"][0, :, 0].mean((1, 2)).cpu().numpy() / pipe.model.decoder.scale
        right = motion * min(width, height) / 2  # pixels, per frame
        if right[-1] < 8:
            raise SystemExit(f"the picture was not panned to the left at {width}x{height}; nothing to measure")
        ratios = []
        for frame, dx in zip(clip.frames[1:], np.round(right[1:].clip(0)).astype(int)):
            now, then = grey(frame)[8:-8, dx + 8 : -8], grey(picture)[8:-8, 8 : -8 - dx]
            ratios.append(energy(now) / energy(then))
        sharp[f"{width}x{height}"] = round(float(np.median(ratios)), 3)
    return dict(frame0_exact=share(exact), sharpness=sharp)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="judge,model,motion,direction,prompts,picture")
    parser.add_argument("--weights")
    args = parser.parse_args()
    every, parts = (3 if args.quick else 1), args.only.split(",")
    pipe = functools.cache(lambda: lab.load_pipeline(**({"weights": args.weights} if args.weights else {})))
    measures = dict(
        judge=lambda: measure_judge(every),
        model=lambda: measure_model(pipe(), every),
        motion=lambda: measure_motion(pipe(), every),
        unwatched=lambda: measure_unwatched(pipe(), every),
        direction=lambda: measure_direction(pipe(), every),
        prompts=lambda: measure_prompts(pipe()),
        picture=lambda: measure_picture(pipe()),
    )
    out = Path(lab.__file__).parent / "weights" / "figures.json"
    figures = json.loads(out.read_text()) if out.exists() else {}
    if not args.quick and not args.weights and figures.get("weights_sha256") != pipe().weights_sha256:
        figures = {}  # of other weights
    for part in parts:
        start = time.perf_counter()
        figures |= (found := measures[part]())
        print(f"{part} ({time.perf_counter() - start:.0f} s)", json.dumps(found, indent=1), flush=True)
    if not args.quick and not args.weights:
        figures["weights_sha256"] = pipe().weights_sha256
        with atomic_path(out) as temporary:
            Path(temporary).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        print("written to", out)


if __name__ == "__main__":
    main()
