"""Measure the shipped model and the judge on held-out pictures: `python tests/bench/figures.py`.

Prints each figure and writes them all to `i2v_lab/weights/figures.json`; `tests/bench/card.py` makes the model card of it.
Nothing measured here was trained on: photos, cut-outs and wordings are those of the held-out split. What a clip shows is
read by the judge from its pixels alone, but for the reader's own rows.
`--quick` takes every third picture and writes nothing; `--only judge,model` measures a part, and keeps the other figures
if they are of the same weights; `--weights FILE --out FILE.json` measures other weights, as those of another seed.
"""

import argparse
import csv
import functools
import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

import i2v_lab as lab
from i2v_lab.core.actions import Action
from i2v_lab.core.files import atomic_path
from i2v_lab.core.picture import load_picture
from i2v_lab.study.judge import judge
from i2v_lab.training.examples import has_somebody, is_crowded
from i2v_lab.training.known_motion import Motion, Subject, draw_motion, render_known
from i2v_lab.training.sources import cutouts, data_root, labels, load_cutout, photo_facing, photos

CAMERA = [Action.STATIC, *(a for a in Action if a.is_camera)]  # the six about the camera, standing still included
WALKS = [Action.WALK, Action.RUN]
PLAIN = {
    Action.STATIC: "nothing moves",
    Action.WALK: "it walks",
    Action.RUN: "it runs",
    Action.ROTATE: "the camera rotates",
    Action.ZOOM_IN: "the camera zooms in",
    Action.ZOOM_OUT: "the camera zooms out",
    Action.PAN_LEFT: "the camera pans left",
    Action.PAN_RIGHT: "the camera pans right",
}
FACES = ("baboon", "chelsea")  # a face fills these pictures: there is nothing beside it that could stay
AMOUNT = {  # the judge's measure of how much of an action there is
    **{a: "zoom" for a in (Action.ZOOM_IN, Action.ZOOM_OUT)},
    **{a: "pan" for a in (Action.PAN_LEFT, Action.PAN_RIGHT)},
    Action.ROTATE: "roll",
    **{a: "subject_travel" for a in WALKS},
}


def share(hits: list[bool]) -> dict:
    "A share with its count and 95 % Wilson interval."
    n, p, z = len(hits), float(np.mean(hits)), 1.96
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return dict(share=round(p, 4), n=n, low=round(max(0.0, middle - half), 3), high=round(min(1.0, middle + half), 3))


def fitted(path: Path, side: int = 288) -> np.ndarray:
    "A photo with a shorter side of so many pixels."
    photo = load_picture(path)
    f = side / min(photo.shape[:2])
    return cv2.resize(photo, None, fx=f, fy=f, interpolation=cv2.INTER_AREA if f < 1 else cv2.INTER_CUBIC)


def shipped(split: str = "heldout", every: int = 1) -> list[Path]:
    "Held-out photos that ship with the repository, so that anybody can run this."
    root = data_root()
    return [p for p in photos(split, root) if p.parent == root / "photos"][::every]


def with_subject(every: int = 1) -> list[Path]:
    "Held-out photos of an animal or a person with something beside them, those fetched included."
    return [p for p in photos("heldout") if has_somebody(p) and not any(f in p.stem for f in FACES)][::every]


@dataclass
class Scene:
    "A first frame whose surroundings and subject are known, so that any motion of it can be drawn exactly."

    photo: np.ndarray  # with `margin` around the frame
    margin: int
    cutout: np.ndarray | None = None
    at: tuple[int, int] = (0, 0)
    subject: Subject | None = None

    @property
    def size(self) -> tuple[int, int]:
        return tuple(n - 2 * self.margin for n in self.photo.shape[:2])

    def clip(self, motion: Motion) -> lab.Clip:
        return render_known(self.photo, motion, margin=self.margin, cutout=self.cutout, at=self.at)

    def known(self, action: Action, rng: np.random.Generator) -> lab.Clip:
        "The exact clip of an action."
        return self.clip(draw_motion(action, rng, subject=self.subject, size=self.size))

    @property
    def picture(self) -> np.ndarray:
        return self.clip(draw_motion(Action.STATIC, np.random.default_rng(0), 2, size=self.size)).frames[0]


def place(path: Path) -> Scene:
    "A photo of which the outer part is kept back as the true surroundings."
    return Scene(fitted(path, int(1.7 * 288)), int(0.35 * 288))


def figures_of(split: str = "heldout") -> list:
    "Cut-outs and what is known about them."
    known = labels(data_root())
    return [(load_cutout(p), known[p.stem]) for p in cutouts(split) if p.stem in known]


def with_walker(path: Path, figure: tuple, rng: np.random.Generator) -> Scene:
    "The same with a cut-out in it, at the side that it faces away from."
    scene, (cutout, label) = place(path), figure
    height, width = scene.size
    f = min(rng.uniform(0.35, 0.6) * height / cutout.shape[0], 0.5 * width / cutout.shape[1])
    cutout = np.clip(cv2.resize(cutout, None, fx=f, fy=f, interpolation=cv2.INTER_AREA), 0, 1)
    h, w = cutout.shape[:2]
    way, unit = label.facing or 1, min(height, width) / 2
    x = int(rng.uniform(0.05, 0.3) * width) if way > 0 else int(rng.uniform(0.7, 0.95) * width - w)
    subject = Subject(0, 0, w / unit, h / unit, way, label.kind != "vehicle")
    return Scene(scene.photo, scene.margin, cutout, (max(x, 0), int(0.95 * height) - h), subject)


def known_clip(path: Path, action: Action, rng: np.random.Generator, figures: list) -> lab.Clip:
    "A clip of exactly known motion of a photo; walkers are cut-outs."
    scene = with_walker(path, figures[rng.integers(len(figures))], rng) if action.moves_subject else place(path)
    return scene.known(action, rng)


def walkers(every: int = 1) -> list[Scene]:
    "Held-out photos with held-out cut-outs whose facing side is known, one of each group."
    rng, groups = np.random.default_rng(21), {}
    for cutout, label in figures_of():
        if label.facing:
            groups.setdefault(label.group, []).append((cutout, label))
    paths = [p for p in photos("heldout") if not has_somebody(p) and not is_crowded(p)]
    chosen = [members[rng.integers(len(members))] for _, members in sorted(groups.items())]
    return [with_walker(paths[rng.integers(len(paths))], figure, rng) for figure in chosen][::every]


def measure_judge(every: int) -> dict:
    "The judge on clips whose motion is known exactly."
    rng, figures = np.random.default_rng(11), figures_of()
    rows = [(a, judge(known_clip(p, a, rng, figures)).action) for p in shipped(every=every) for a in Action]
    return dict(
        judge_eight=share([a == b for a, b in rows]),
        judge_wrong=dict(Counter(f"{a} seen as {b}" for a, b in rows if a != b)),
    )


def ken_burns(picture: np.ndarray) -> lab.Clip:
    "What every slide show does, whatever is asked: a slow zoom in with a little drift."
    h, w = picture.shape[:2]
    frames = []
    for t in np.linspace(0, 1, 16):
        m = cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), 0, 1 + 0.15 * t)
        m[0, 2] += 0.02 * w * t
        frames.append(cv2.warpAffine(picture, m, (w, h), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101))
    return lab.Clip(np.stack(frames), 8.0, {})


def measure_baselines(pipe, every: int) -> dict:
    "Still picture, Ken Burns, the model and the exact motion on the same pictures before the same judge."
    rng = np.random.default_rng(31)
    jobs = [(place(p), a) for p in shipped(every=every) for a in CAMERA]
    jobs += [(s, a) for s in walkers(every) for a in WALKS]
    hits: dict[tuple[str, str], list[bool]] = {}
    for scene, action in jobs:
        picture = scene.picture
        clips = dict(
            still=lab.Clip(np.stack([picture] * 16), 8.0, {}),
            ken_burns=ken_burns(picture),
            model=pipe.generate(picture, PLAIN[action], seed=0),
            exact=scene.known(action, rng),
        )
        kind = "walk_run" if action in WALKS else "camera_static"
        for name, clip in clips.items():
            hits.setdefault((name, kind), []).append(judge(clip).action == action)
    return dict(baselines={f"{name}/{kind}": share(found) for (name, kind), found in hits.items()})


def measure_model(pipe, every: int, seeds: int = 1) -> dict:
    "The shipped model, the action named plainly in the prompt: camera moves on every photo, walks where somebody is."
    details = Counter()
    for path in shipped(every=every):
        for action in CAMERA:
            for seed in range(seeds):
                details[f"{action} seen as {judge(pipe.generate(path, PLAIN[action], seed=seed)).action}"] += 1
    return dict(camera_as_asked=as_asked(details, CAMERA), seen=dict(sorted(details.items())))


def as_asked(details: Counter, actions: list[Action]) -> dict:
    "The share judged as asked."
    rows = [(k.split(" seen as "), n) for k, n in details.items()]
    return share([hit for (a, b), n in rows if a in set(map(str, actions)) for hit in [a == b] * n])


def look_at_walk(clip: lab.Clip, facing: int) -> tuple[str, float, bool | None]:
    "What the judge sees of a walk: the action, how far the background moves, whether it goes the way the subject faces."
    verdict = judge(clip)
    right = verdict.measures.get("subject_right", 0.0)
    background = max((abs(verdict.measures.get(k, 0.0)) for k in ("zoom", "roll", "pan", "lift")), default=0.0)
    return verdict.action, background, (np.sign(right) == facing) if facing and right else None


def measure_walks(pipe, every: int) -> dict:
    "Walk and run on held-out photos with a subject and on held-out cut-outs in held-out places."
    sides, rng = photo_facing(), np.random.default_rng(0)
    real = [(load_picture(p), sides.get(p.stem, 0)) for p in with_subject(every)]
    made = [(s.picture, s.subject.facing) for s in walkers(every)]
    out, ways, details, speeds = {}, [], Counter(), {a: [] for a in WALKS}
    for name, pictures in (("photos", real), ("cutouts", made)):
        seen, moved = [], []
        for picture, facing in pictures:
            for action in WALKS:
                for seed in range(2):
                    clip = pipe.generate(picture, PLAIN[action], seed=int(rng.integers(10_000)) + seed)
                    got, background, way = look_at_walk(clip, facing)
                    seen.append(got == action)
                    moved.append(got in ("walk", "run"))
                    ways += [way] if way is not None and moved[-1] else []
                    details[f"{action} on {name} seen as {got}"] += 1
                    if moved[-1]:
                        m = judge(clip).measures
                        speeds[action].append((m["subject_speed"], m["subject_bounce"], m.get("subject_cadence", 0.0)))
        out[f"walk_run_as_asked_{name}"], out[f"walk_run_subject_moves_{name}"] = share(seen), share(moved)
    gaits = {str(a): [round(float(x), 3) for x in np.median(np.array(v), 0)] for a, v in speeds.items() if v}
    return out | dict(
        walk_run_way_it_faces=share(ways),
        gaits_heights_per_second_bounce_cadence=gaits,
        walks_seen=dict(sorted(details.items())),
    )


def measure_nobody(pipe, every: int) -> dict:
    "A walk asked for where nobody is: what the judge sees, and whether the clip's settings say so."
    paths = [p for p in shipped(every=every) if not has_somebody(p)]
    clips = [pipe.generate(p, PLAIN[a], seed=0) for p in paths for a in WALKS]
    return dict(
        nobody_noted=share([bool(c.settings.get("note")) for c in clips]),
        nobody_seen=dict(Counter(judge(c).action for c in clips)),
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
    "Whether a walk goes to the side, and a rotation turns the way, that the words ask for."
    turns = [("turn the picture clockwise", 1), ("turn the picture counter-clockwise", -1)]
    goes = [
        (f"it {verb} to the {side}", sign) for verb in ("walks", "runs") for side, sign in (("right", 1), ("left", -1))
    ]
    rolls, ways = [], []
    for path in shipped(every=every):
        for prompt, sign in turns:
            roll = judge(pipe.generate(path, prompt, seed=1)).measures.get("roll", 0.0)
            rolls.append(bool(np.sign(roll) == sign))
    for picture in [load_picture(p) for p in with_subject(every)] + [s.picture for s in walkers(every)]:
        for prompt, sign in goes:
            right = judge(pipe.generate(picture, prompt, seed=1)).measures.get("subject_right", 0.0)
            ways.append(int(np.sign(right)) * sign)  # 0: the judge sees nobody go to a side
    return dict(
        turn_as_worded=share(rolls),
        side_as_worded=share([w > 0 for w in ways]),
        side_as_worded_where_seen=share([w > 0 for w in ways if w]),
    )


def measure_pace(pipe, every: int) -> dict:
    "Whether words of pace order how much there is of a motion: slowly < nothing said < fast."
    pairs, whole, amounts = [], [], {}
    for i, path in enumerate(with_subject(2 * every)):
        picture = load_picture(path)
        for action, measure in AMOUNT.items():
            plain = PLAIN[action]
            soft = f"{plain} a little" if i % 2 else f"{plain} slowly"
            found = []
            for prompt in (soft, plain, f"{plain} fast"):
                measures = judge(pipe.generate(picture, prompt, seed=i)).measures
                found.append(abs(measures.get(measure, 0.0)))
            pairs += [found[0] < found[1], found[1] < found[2]]
            whole.append(found[0] < found[1] < found[2])
            amounts.setdefault(str(action), []).append(found)
    medians = {a: [round(float(x), 2) for x in np.median(np.array(v), 0)] for a, v in amounts.items()}
    return dict(pace_pairs_in_order=share(pairs), pace_triples_in_order=share(whole), pace_amounts=medians)


def prompts_of(*kinds: str) -> list[dict[str, str]]:
    "Rows of the held-out prompts."
    with (data_root() / "heldout_prompts.csv").open(newline="", encoding="utf-8") as f:
        return [r for r in csv.DictReader(f) if r["kind"] in kinds]


def read_words(pipe, texts: list[str]) -> list[tuple[str, int, int]]:
    "Action, direction and pace that the reader takes each text for."
    out = []
    with torch.inference_mode():
        for i in range(0, len(texts), 64):
            t = pipe.model.reader(*pipe.text(texts[i : i + 64]))
            parts = (x.argmax(-1).tolist() for x in (t.action_logits, t.direction_logits, t.pace_logits))
            out += [(Action.names()[a], d, p) for a, d, p in zip(*parts)]
    return out


def measure_prompts(pipe) -> dict:
    "What the reader takes prompts for, which a language model wrote without sight of the grammar; and its held-out phrases."
    from i2v_lab.training.wordings import all_wordings
    from i2v_lab.training.written import WAYS, written_wordings

    def as_meant(texts: list[str], actions: list[str]) -> list[bool]:
        return [a == meant for (a, _, _), meant in zip(read_words(pipe, texts), actions, strict=True)]

    out, paces = {}, ("slow", "plain", "fast")
    for kind in ("third", "plain", "first"):
        rows = prompts_of(kind)
        read = read_words(pipe, [r["prompt"] for r in rows])
        out[f"prompts_{kind}"] = share([a == r["action"] for r, (a, _, _) in zip(rows, read)])
        if kind == "third":
            way, pace = [d - 1 for _, d, _ in read], [paces[p] for _, _, p in read]
            said = [WAYS[r["direction"]] == d for r, d in zip(rows, way) if WAYS[r["direction"]]]
            out["prompts_direction"] = share(said)
            out["prompts_pace"] = share([r["pace"] == p for r, p in zip(rows, pace) if r["action"] != "static"])
    for name, rows in (("phrases", all_wordings("heldout", per_action=150)), ("written", written_wordings("heldout"))):
        out[f"prompts_heldout_{name}"] = share(as_meant([w.text for w in rows], [w.action.value for w in rows]))
    return out


def measure_wordings(pipe, every: int) -> dict:
    "The same prompts all the way: held-out picture and wording in, judged clip out."
    places, subjects = shipped(), with_subject()
    hits = {"camera_static": [], "walk_run": []}
    for i, row in enumerate(prompts_of("third")[::every]):
        action = Action.parse(row["action"])
        pool = subjects if action.moves_subject else places
        seen = judge(pipe.generate(pool[i % len(pool)], row["prompt"], seed=i)).action
        hits["walk_run" if action.moves_subject else "camera_static"].append(seen == action)
    return dict(
        wordings_to_clip=share(hits["camera_static"] + hits["walk_run"]),
        **{f"wordings_to_clip_{k}": share(v) for k, v in hits.items()},
    )


def measure_vague(pipe, every: int) -> dict:
    "What comes out of vague wordings, over 40 seeds: measured, not scored."
    animal, empty = with_subject()[4], next(p for p in shipped() if not has_somebody(p))
    out = {}
    for prompt, name, path in (
        ("make it move", "somebody", animal),
        ("make it move", "nobody", empty),
        ("a person walking", "somebody", animal),
    ):
        seen = Counter(judge(pipe.generate(path, prompt, seed=s)).action for s in range(0, 40, every))
        out[f"{prompt}, {name} in the picture"] = dict(seen.most_common())
    return dict(vague=out, vague_pictures=[animal.stem, empty.stem])


def measure_two(pipe, every: int) -> dict:
    "Two clauses in one prompt: which of them the judge sees."
    seen, pictures = Counter(), with_subject()
    for i, row in enumerate(prompts_of("two")[::every]):
        names = row["action"].split("+")
        got = judge(pipe.generate(pictures[i % len(pictures)], row["prompt"], seed=i)).action
        seen[
            "first" if got == names[0] else "second" if got == names[1] else "neither" if got != "uncertain" else got
        ] += 1
    return dict(two_clauses=dict(seen))


def measure_picture(pipe, every: int) -> dict:
    "Frame 0 against the picture, and the gradient energy of panned frames where they show the picture, at three sizes."
    exact, sharp = [], {}
    grey = lambda im: cv2.cvtColor(im, cv2.COLOR_RGB2GRAY).astype(np.float32)  # noqa: E731
    energy = lambda im: float((cv2.Sobel(im, -1, 1, 0) ** 2 + cv2.Sobel(im, -1, 0, 1) ** 2).mean())  # noqa: E731
    for width, height in ((512, 512), (720, 1280), (1024, 1024)):
        ratios = []
        for path in shipped(every=3 * every):
            picture = cv2.resize(load_picture(path), (width, height), interpolation=cv2.INTER_AREA)
            kept = {}
            hear = lambda e, k=kept: k.update({e.stage: e.payload})
            clip = pipe.generate(picture, PLAIN[Action.PAN_LEFT], seed=0, progress=hear)
            exact.append(bool(np.array_equal(clip.frames[0], picture)) and clip.frames.shape[1:3] == (height, width))
            motion = kept["denoise"][0, :, 0].mean((1, 2)).cpu().numpy() / pipe.model.decoder.scale
            right = motion * min(width, height) / 2  # pixels, per frame
            found = []
            for frame, dx in zip(clip.frames[1:], np.round(right[1:].clip(0)).astype(int)):
                now, then = grey(frame)[8:-8, dx + 8 : -8], grey(picture)[8:-8, 8 : -8 - dx]
                found.append(energy(now) / energy(then))
            if right[-1] > 8:  # panned at all
                ratios.append(float(np.median(found)))
        sharp[f"{width}x{height}"] = dict(
            median=round(float(np.median(ratios)), 3),
            low=round(min(ratios), 3),
            high=round(max(ratios), 3),
            n=len(ratios),
        )
    return dict(frame0_exact=share(exact), sharpness=sharp)


def measure_steps(pipe, every: int) -> dict:
    "As few steps as keep the figures: the share judged as asked, by number of steps; walks on photos are the first to suffer."
    easy = [(load_picture(p), a) for p in shipped(every=3 * every) for a in CAMERA]
    easy += [(s.picture, a) for s in walkers(3 * every) for a in WALKS]
    hard = [(load_picture(p), a) for p in with_subject(every) for a in WALKS]
    out = {}
    for name, scenes in (("by_steps", easy), ("by_steps_walks_on_photos", hard)):
        out[name] = {}
        for steps in (4, 8, 12, 20, 40):
            hits = [judge(pipe.generate(x, PLAIN[a], seed=0, num_inference_steps=steps)).action == a for x, a in scenes]
            out[name][str(steps)] = share(hits)
    return out


PARTS = dict(
    judge=lambda pipe, every: measure_judge(every),
    model=measure_model,
    walks=measure_walks,
    nobody=measure_nobody,
    baselines=measure_baselines,
    direction=measure_direction,
    pace=measure_pace,
    prompts=lambda pipe, every: measure_prompts(pipe),
    wordings=measure_wordings,
    vague=measure_vague,
    two=measure_two,
    picture=measure_picture,
    steps=measure_steps,
    unwatched=measure_unwatched,
)


def keep(found: dict, out: Path) -> None:
    "Add what was found to the file, which keeps its other figures if they are of the same weights."
    figures = json.loads(out.read_text()) if out.exists() else {}
    if figures.get("weights_sha256") != found["weights_sha256"]:
        figures = {}
    with atomic_path(out) as temporary:
        Path(temporary).write_text(json.dumps(figures | found, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--weights", help="measure these; needs --out")
    parser.add_argument("--out", type=Path, help="where the figures of other weights go")
    args = parser.parse_args()
    every = 3 if args.quick else 1
    pipe = functools.cache(lambda: lab.load_pipeline(**({"weights": args.weights} if args.weights else {})))()
    out = args.out or Path(lab.__file__).parent / "weights" / "figures.json"
    if args.weights and not args.out and not args.quick:
        parser.error("--weights needs --out (or --quick): figures.json is about the shipped weights")
    for part in args.only.split(","):
        start = time.perf_counter()
        found = PARTS[part](pipe, every)
        print(f"{part} ({time.perf_counter() - start:.0f} s)", json.dumps(found, indent=1), flush=True)
        if not args.quick:
            keep(found | dict(weights_sha256=pipe.weights_sha256), out)
    if not args.quick:
        print("written to", out)


if __name__ == "__main__":
    main()
