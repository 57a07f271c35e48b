"""What a study costs beside its clips: `python tests/bench/study.py [--small] [--workers N]` (minutes; small: about one).

8 mixes x 4 photos x 2 prompts x 2 seeds of 16 frames at 256 px in makers of this machine. Prints one JSON object:

- `clips`, `wall_seconds`; `generating`, `judging`, `counting`: sums of the rows' `seconds`, `seconds_judge` (all metrics but
  one, the comparison with the empty mix as well) and `seconds_count` (the operations: a second run, once for each mix and
  shape of picture, `counted` times).
- `overhead`: the share of the makers' time that went into none, `1 - (generating + judging + counting) / (wall * workers)`.
  The clock starts when a first clip has come from each maker: what loading and warming up take is before that. Clips that
  were under way at that moment count for the half; a maker that is idle while the last clip is made is overhead.
- `overhead_with_counting`: the same where counting operations is taken for overhead, and not for measuring.
- `overhead_later`: after the last clip whose operations were counted, as it is in most of a long study. Null: there were
  too few clips.
- `parts`: seconds of one clip's other work, in this process and alone: operations are counted once for each mix and
  size (`count`), the film is written (`video`), sent (`send`), compared (`compare`), put on disk (`write`).
- `memory`: resident MB of the driver and of each maker, with a quarter, half, three quarters and all of the clips made.
- `journal_bytes`, `clips_bytes`; `report_bytes`, `report_seconds`.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import cloudpickle
import psutil

import i2v_lab as lab
from i2v_lab.core.picture import load_picture
from i2v_lab.study.journal import Journal, add
from i2v_lab.study.metrics import compare, count_flops
from i2v_lab.study.trial import make, mix_of, video_of, without_frames
from i2v_lab.training.sources import data_root
from i2v_lab.views.study_panel import Study

PHOTOS = ("erase_horse", "explore_farm_animals_cat", "erase_camels", "erase_penguin")  # two shapes; both come early
PROMPTS = ("the camera zooms in", "it walks")
EXTENSIONS = ["action_prior", "kv_cache", "step_cache"]


def megabytes() -> dict:
    "Resident memory of this process and of the makers."
    driver = psutil.Process()
    makers = [p for p in driver.children(recursive=True) if "i2v_lab.study.maker" in " ".join(p.cmdline())]
    size = lambda process: round(process.memory_info().rss / 2**20)
    return dict(driver=size(driver), makers=sorted(map(size, makers)))


class Log:
    "Hears of each clip."

    def __init__(self, workers: int):
        self.workers, self.rows, self.times, self.memory = workers, [], [], {}

    def __call__(self, state) -> None:
        self.rows.append(state.row)
        self.times.append(time.perf_counter())
        marks = {round(state.total * share / 100): share for share in (25, 50, 75, 100)}
        if (share := marks.get(state.done)) is not None:
            self.memory[f"{share} %"] = megabytes()

    def counted(self) -> list[int]:
        "The clips whose operations were counted."
        return [n for n, row in enumerate(self.rows, 1) if row.get("flops") is not None]

    def overhead(self, first: int, *also: str) -> float | None:  # the clock starts after that many clips
        "The share of the makers' time that is not in the rows."
        if len(self.rows) < first + 4 * self.workers:
            return None
        names = ("seconds", "seconds_judge", *also)
        work = [sum(row.get(name) or 0 for name in names) for row in self.rows[first:]]
        under_way = (self.workers - 1) / 2 * sum(work) / len(work)
        wall = self.times[-1] - self.times[first - 1]
        return round(1 - (sum(work) - under_way) / (wall * self.workers), 3)


def parts_of(study: Study, folder: Path) -> dict[str, float]:  # seconds, the best of three
    "What is done for a clip besides making and judging it."
    pipe, trial = lab.load_pipeline(threads=1), study.trials()[1]
    picture, mix = study.pictures[trial.image], mix_of(trial, {})
    made, clip = make(pipe, picture, trial), pipe.generate(picture, trial.prompt, **trial.settings)
    journal, other = Journal(folder), made.frames // 2
    works = dict(
        count=lambda: count_flops(lambda: without_frames(pipe, picture, trial, mix)),
        video=lambda: video_of(clip),
        send=lambda: cloudpickle.loads(cloudpickle.dumps(made)),
        compare=lambda: compare(made.frames, other),
        write=lambda: add(journal, str(time.time()), made.row, {"clips/a.mp4": made.video}),
    )
    seconds = {}
    for name, work in works.items():
        for _ in range(3):
            start = time.perf_counter()
            work()
            seconds[name] = round(min(time.perf_counter() - start, seconds.get(name, 1e9)), 4)
    return seconds


def report_of(study: Study, file: Path) -> dict:
    "Size of a report, and how long it takes to write."
    start = time.perf_counter()
    study.report(file)
    return dict(report_bytes=file.stat().st_size, report_seconds=round(time.perf_counter() - start, 2))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="4 mixes x 2 photos x 1 prompt x 2 seeds")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    photos = data_root() / "photos"
    images = {
        name: load_picture(photos / f"gcompris-qt-data__{name}.jpg") for name in PHOTOS[: 2 if asked.small else 4]
    }
    prompts, extensions = (PROMPTS[:1], EXTENSIONS[:2]) if asked.small else (PROMPTS, EXTENSIONS)
    with tempfile.TemporaryDirectory() as folder:
        more = dict(extensions=extensions, options=dict(frames=16, size=256), baselines=False)
        study, log = Study(images, prompts, "all", 2, out=Path(folder) / "study", **more), Log(asked.workers)
        start = time.perf_counter()
        study.run(workers=asked.workers, progress=False, listener=log)
        wall, total = time.perf_counter() - start, lambda name: round(sum(row.get(name) or 0 for row in log.rows), 1)
        sizes = dict(
            journal_bytes=sum(p.stat().st_size for p in study.out.glob("study.sqlite*")),
            clips_bytes=sum(p.stat().st_size for p in (study.out / "clips").iterdir()),
        )
        found = dict(
            clips=len(log.rows), failed=len(study.failures), workers=asked.workers, wall_seconds=round(wall, 1)
        )
        found |= dict(generating=total("seconds"), judging=total("seconds_judge"), counted=len(log.counted()))
        found |= dict(counting=total("seconds_count"))
        found |= dict(overhead=log.overhead(asked.workers, "seconds_count"))
        found |= dict(
            overhead_with_counting=log.overhead(asked.workers), overhead_later=log.overhead(log.counted()[-1])
        )
        found |= dict(parts=parts_of(study, Path(folder) / "parts"), memory=log.memory) | sizes
        print(json.dumps(found | report_of(study, Path(folder) / "report.html")))


if __name__ == "__main__":
    main()
