"""What a study loses when it is killed: `python tests/bench/kills.py [--kills 50] [--seed 0]` (a minute or two).

A study of the tiny pipeline is driven by one process after the other. Each goes on where the last one was, says the key
of each clip that is finished, and is ended with SIGKILL at a random moment: while it opens the folder, makes a clip, or
writes it down. The last one is left alone. Prints one JSON object:

- `kills`, `reported`: processes that were killed; keys that were said, by all of them together.
- `lost`: said, and not in the table, or without a clip that can be played.
- `duplicates`: rows too many. `made_twice`: clips that were begun again after they had been said.
- `strays`: files that belong to no row. `complete`: nothing is missing in the end.
"""

import argparse
import json
import os
import random
import select
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import cv2
import torch

import i2v_lab.study.crew as crew
from i2v_lab.core.clip import Clip
from i2v_lab.extensions.reference import reference_pipeline, sample_picture
from i2v_lab.study.study import Study

EXTENSIONS = ["kv_cache", "step_cache"]


def study_of(folder: Path, seeds: int) -> Study:
    "The study that is killed."
    pictures = {"wide": sample_picture(64, 48), "high": sample_picture(48, 64, seed=1)}
    asked = dict(extensions=EXTENSIONS, options=dict(steps=2, frames=4), pipe=reference_pipeline())
    return Study(pictures, "zoom in", "all", seeds, out=folder, **asked)


def drive(folder: Path, seeds: int, say: int) -> None:
    "Go on with the study; write to a pipe which clips are begun (`+key`) and finished (`key`)."
    make = crew.make

    def counted(pipe, picture, trial, *rest):
        os.write(say, f"+{trial.key}\n".encode())
        return make(pipe, picture, trial, *rest)

    crew.make = counted
    finished = lambda state: os.write(say, f"{state.row['key']}\n".encode())
    study_of(folder, seeds).run(progress=False, listener=finished)


def life(folder: Path, seeds: int, kill_after: tuple[int, float] | None) -> tuple[list[str], bool]:
    "What a process said until it was killed, so many reports and seconds after its start; and whether it was."
    hear, say = os.pipe()
    if not (driver := os.fork()):
        try:
            os.close(hear)
            drive(folder, seeds, say)
        except BaseException as e:
            print(f"{type(e).__name__}: {e}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    os.close(say)
    text, deadline = b"", None
    while True:
        reports = [line for line in text.split(b"\n")[:-1] if not line.startswith(b"+")]
        if kill_after is not None and deadline is None and len(reports) >= kill_after[0]:
            deadline = time.monotonic() + kill_after[1]
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if left == 0.0 or not select.select([hear], [], [], left)[0]:
            os.kill(driver, signal.SIGKILL)
            deadline, kill_after = None, None
        elif piece := os.read(hear, 65536):
            text += piece
        else:
            break
    os.close(hear)
    status = os.waitpid(driver, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit("a driver failed; its message is above")
    return text.decode().split("\n")[:-1], os.WIFSIGNALED(status)


def playable(file: Path) -> bool:
    "Whether a clip is whole."
    try:
        return len(Clip.load(file).frames) > 1
    except (OSError, ValueError):
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    asked = parser.parse_args()
    rng, seeds = random.Random(asked.seed), 2 + asked.kills // 4
    torch.set_num_threads(1)
    cv2.setNumThreads(1)  # its threads would not be there after a fork
    with tempfile.TemporaryDirectory() as folder:
        study_of(Path(folder) / "warm", 1).run(progress=False)  # what is imported late is there in every driver
        start, out = time.monotonic(), Path(folder) / "study"
        timed = study_of(Path(folder) / "timed", 1).run(progress=False)
        typical = (time.monotonic() - start) / len(timed.results())
        reported, again, kills = Counter(), 0, 0
        while True:
            after = (rng.randrange(4), rng.uniform(0, 2 * typical)) if kills < asked.kills else None
            said, killed = life(out, seeds, after)
            begun = Counter(line[1:] for line in said if line.startswith("+"))
            again += sum(n - 1 for n in begun.values()) + sum(key in reported for key in begun)
            reported.update(line for line in said if not line.startswith("+"))
            kills += killed
            if not killed:
                break
        study = study_of(out, seeds)
        rows = study.results()
        whole = {key for key, clip in zip(rows["key"], rows["clip"]) if playable(out / clip)}
        names = rows["clip"].tolist() + [f"pictures/{name}.png" for name in study.pictures]
        strays = [p for p in out.rglob("*/*") if str(p.relative_to(out)) not in names]
        print(
            json.dumps(
                dict(
                    kills=kills,
                    clips=len(rows),
                    reported=reported.total(),
                    lost=len(set(reported) - whole),
                    duplicates=len(rows) - len(rows[["image", "prompt", "mix", "seed"]].drop_duplicates()),
                    made_twice=again + sum(n - 1 for n in reported.values()),
                    strays=len(strays),
                    complete=not study.missing() and not study.failures,
                )
            )
        )


if __name__ == "__main__":
    main()
