"""Write the model card from what was measured: `python tests/bench/card.py`.

Reads `motiondit.json` (written by training) and what the scripts beside this one wrote: `figures.json` and
`figures_second_seed.json` (`figures.py`), `fill.json` (`fill.py`), `speed.json` (`speed.py`). Every figure in the card
comes from one of them, none is typed by hand.
"""

import json
from pathlib import Path

from matplotlib.figure import Figure

import i2v_lab
from i2v_lab.core.files import atomic_path

FOLDER = Path(i2v_lab.__file__).parent / "weights"
IMAGES = Path(i2v_lab.__file__).parents[1] / "nbs" / "images"
SHARES = [  # key, what it is, the aim
    ("judge_eight", "the judge on exact-motion clips, all eight actions told apart", 0.95),
    ("camera_as_asked", "five camera moves and static, named plainly: judged as asked", 0.95),
    (
        "camera_as_asked_unwatched",
        "the same on fetched photos (zoom-outs of two of the 25 were watched, once, after training)",
        0.95,
    ),
    ("walk_run_as_asked_photos", "walk and run on photos of animals and people: judged exactly as asked", 0.75),
    ("walk_run_as_asked_cutouts", "the same on held-out cut-outs in held-out places", 0.75),
    ("walk_run_subject_moves_photos", "walk and run on photos: the judge sees a subject move", None),
    ("walk_run_subject_moves_cutouts", "the same on cut-outs", None),
    ("walk_run_way_it_faces", "where a subject moves: it goes the way it faces (chance 50 %)", None),
    ("side_as_worded", "'it walks to the left': the judge sees it go to that side", None),
    (
        "side_as_worded_where_seen",
        "the same, of the clips in which the judge sees somebody go to a side (chance 50 %)",
        None,
    ),
    ("turn_as_worded", "'turn the picture clockwise': it turns that way (chance 50 %)", None),
    ("pace_pairs_in_order", "less motion for 'slowly' or 'a little' than plainly, more for 'fast': pairs", None),
    ("pace_triples_in_order", "the same: all three in order (chance 17 %)", None),
    ("prompts_third", "wordings in many voices (the third set), read as the action meant", 0.90),
    ("prompts_direction", "the same: a stated direction read as meant", None),
    ("prompts_pace", "the same: pace read as meant", None),
    ("prompts_plain", "the second set of such wordings, read as meant", 0.90),
    ("prompts_first", "the first set of such wordings, read as meant", 0.90),
    ("prompts_heldout_phrases", "held-out phrases of our own grammar, read as meant", None),
    ("prompts_heldout_written", "held-out tenth of the wordings written one by one, read as meant", None),
    ("wordings_to_clip", "the same wordings all the way: picture and words in, clip judged as asked", None),
    ("wordings_to_clip_camera_static", "of these, camera moves and static", None),
    ("wordings_to_clip_walk_run", "of these, walk and run", None),
    ("nobody_noted", "walk or run asked where nobody is: the clip's settings say so", None),
    ("frame0_exact", "frame 0 equals the picture, at 512x512, 720x1280, 1024x1024", 1.0),
]


def percent(value: dict | None) -> str:
    "A share with its interval and count."
    if value is None:
        return ""
    return f"{100 * value['share']:.1f} % [{100 * value['low']:.0f}, {100 * value['high']:.0f}], n = {value['n']}"


def table(head: tuple, rows: list[tuple]) -> str:
    "A Markdown table."
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def quality(figures: dict, second: dict) -> str:
    "The shares, and those of the second training."
    rows = [
        (what, percent(figures[key]), percent(second.get(key)), "" if aim is None else f"{100 * aim:.0f} %")
        for key, what, aim in SHARES
    ]
    return table(("figure", "shipped weights", "another seed", "aim"), rows)


def baselines(figures: dict) -> str:
    "Still, Ken Burns, model, exact motion: the same pictures, the same judge."
    names = {"still": "still picture", "ken_burns": "Ken Burns warp", "model": "this model", "exact": "exact motion"}
    found = figures["baselines"]
    cell = lambda name, kind: percent(found[f"{name}/{kind}"])
    rows = [(title, cell(name, "camera_static"), cell(name, "walk_run")) for name, title in names.items()]
    return table(("judged as asked", "camera moves and static, on photos", "walk and run, on cut-outs in places"), rows)


def steps(figures: dict) -> str:
    "The step curve."
    walks = figures["by_steps_walks_on_photos"]
    rows = [(n, percent(v), percent(walks[n])) for n, v in figures["by_steps"].items()]
    return table(
        ("steps", "all actions, on places and cut-outs", "walk and run, on photos of animals and people"), rows
    )


def fills(fill: dict) -> str:
    "What the renderer invents, against the truth and against libraries."
    rows = [
        (part, name, f"{v['ssim']:.3f}", f"{v['psnr']:.2f}", f"{v['energy']:.2f}", f"{v['seam']:.2f}")
        for part in ("border", "hole")
        for name, v in fill[part].items()
    ]
    return table(("where", "fill", "SSIM", "PSNR, dB", "gradient energy, truth = 1", "the same at the seam"), rows)


def cut_outs(fill: dict) -> str:
    "How well the subject's outline is found."
    rows = [(n, f"{v['iou']:.2f}", f"{v['thin']:.2f}", f"{v['leak']:.2f}") for n, v in fill["cut_out"].items()]
    return table(("outline", "IoU", "thin parts kept", "leak"), rows)


def seconds(speed: dict) -> str:
    "The table of times."
    line = lambda v: f"{v['median']} s [{v['low']}, {v['high']}]"
    return table(
        ("time and memory", "measured: median [range]", "aim"),
        [
            ("`import i2v_lab`", line(speed["import_seconds"]), "0.3 s"),
            ("first clip in a fresh process, loading included", line(speed["first_clip_seconds"]), "12 s"),
            (
                f"warm clip, camera move, 16 frames at 512x512, {speed['steps']} steps",
                line(speed["warm_camera_seconds"]),
                "1 s",
            ),
            ("warm clip, walk", line(speed["warm_walk_seconds"]), "1 s"),
            ("peak memory of the process", f"{speed['peak_gigabytes']} GB", "2 GB"),
        ],
    )


def ladder(speed: dict) -> str:
    "From naive to shipped."
    rows = [
        (r["rung"], f"{r['seconds']['median']} s", f"{r['times_faster_than_naive']:.1f}x")
        for r in speed["naive_ladder"]
    ]
    return table(("16 frames of 512x512", "seconds", "times faster than naive"), rows)


def peak(speed: dict) -> str:
    "GFLOP/s against the machine's own best."
    rows = [
        (precision, v["peak_gflops"], *(f"{v[k]['gflops']} ({v[k]['share']:.0%})" for k in ("denoise", "encode_image")))
        for precision, v in speed["peak"].items()
    ]
    return table(("precision", "matrix product, GFLOP/s", "denoise", "encode_image"), rows)


def counts(seen: dict) -> str:
    "Counts in one line."
    return ", ".join(f"{k} {v}" for k, v in sorted(seen.items(), key=lambda kv: -kv[1]))


CARD = (FOLDER.parent.parent / "tests" / "bench" / "card.md").read_text(encoding="utf-8")


def draw_reliability(bins: list, out: Path) -> None:  # from, to, answers, mean probability, share right
    "How sure the action head is, and how often it is right."
    figure = Figure(figsize=(3.2, 3.2), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", lw=1, ls="--", label="as sure as right")
    sure, right, count = ([row[i] for row in bins] for i in (3, 4, 2))
    axes.scatter(sure, right, s=[12 + n for n in count], color="#0072B2", alpha=0.8, label="answers (area: how many)")
    for i, (x, y, n) in enumerate(zip(sure, right, count)):
        at = dict(xytext=(9, -11), ha="left") if i % 2 else dict(xytext=(-8, 5), ha="right")  # neighbours apart
        axes.annotate(str(n), (x, y), textcoords="offset points", fontsize=7, **at)
    axes.set(
        xlim=(0, 1.1),
        ylim=(-0.05, 1.15),
        xlabel="probability of the answer",
        ylabel="share that is right",
        aspect="equal",
    )
    axes.legend(fontsize=7, loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, format="png")


def main():
    about, figures, second, fill, speed = (
        json.loads((FOLDER / f"{n}.json").read_text())
        for n in ("motiondit", "figures", "figures_second_seed", "fill", "speed")
    )
    for name, measured in (("figures", figures), ("speed", speed)):
        if measured.get("weights_sha256") != about["sha256"]:
            raise SystemExit(f"{name}.json was measured on other weights; run tests/bench/{name}.py first")
    wrong = {k: v for k, v in figures["seen"].items() if k.split(" seen as ")[0] != k.split(" seen as ")[1]}
    walked = {k: v for k, v in figures["walks_seen"].items() if k.split(" ")[0] != k.split(" seen as ")[1]}
    from i2v_lab.model.shipped import MotionDiT

    gaits = figures["gaits_heights_per_second_bounce_cadence"]
    values = dict(
        parameters=round(sum(p.numel() for p in MotionDiT(**about["config"]).parameters()) / 1e6, 1),
        megabytes=round((FOLDER / "motiondit.safetensors").stat().st_size / 1e6),
        sha=about["sha256"],
        seed=about["recipe"]["seed"],
        train_minutes=round(about["seconds"] / 60),
        threads=about["threads"],
        steps=about["steps"],
        clips=about["clips"],
        examples=about["recipe"]["examples"],
        subject_n=about["subject"]["pictures"],
        **{k: about["subject"][k] for k in ("iou", "empty", "facing")},
        history=about.get("history", ""),
        quality=quality(figures, second),
        confusions="\n".join(f"- {k}: {v}" for k, v in (wrong | walked).items()) or "- nothing",
        baselines=baselines(figures),
        gaits="; ".join(
            f"{a}: {v[0]} heights a second, bounce {v[1]} heights, {v[2]} steps a second" for a, v in gaits.items()
        ),
        amounts=table(
            ("action", "slowly or a little", "plainly", "fast"),
            [(a, *(f"{x} %" for x in v)) for a, v in figures["pace_amounts"].items()],
        ),
        vague=table(("prompt", "what the judge saw, 40 seeds"), [(k, counts(v)) for k, v in figures["vague"].items()]),
        vague_pictures=" and ".join(figures["vague_pictures"]),
        two=counts(figures["two_clauses"]),
        nobody=counts(figures["nobody_seen"]),
        sharpness=", ".join(f"{k}: {v['median']} [{v['low']}, {v['high']}]" for k, v in figures["sharpness"].items()),
        sharp_n=next(iter(figures["sharpness"].values()))["n"],
        fills=fills(fill),
        cut_outs=cut_outs(fill),
        by_steps=steps(figures),
        head_n=about["subject"]["pictures"],
        head_found=about["head"]["somebody_found"],
        head_ece=about["head"]["ece"],
        head_temperature=about["head"]["temperature"],
        reliability=table(
            ("how sure", "answers", "mean probability", "right"),
            [(f"{low:.1f} to {high:.1f}", n, sure, right) for low, high, n, sure, right in about["head"]["bins"]],
        ),
        cores=speed["machine"]["cores"],
        bench_threads=speed["machine"]["threads"],
        seconds=seconds(speed),
        ladder=ladder(speed),
        peak=peak(speed),
    )
    draw_reliability(about["head"]["bins"], IMAGES / "reliability.png")
    (FOLDER / "MODEL_CARD.md").write_text(CARD.format(**values), encoding="utf-8")
    print(FOLDER / "MODEL_CARD.md")


if __name__ == "__main__":
    main()
