"""A study loses nothing: killed drivers, makers and workers, full disks, damaged files; and it asks for the right clips."""

import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
import uuid
from collections import Counter
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from distributed import Client

import i2v_lab.study.crew as crew
from i2v_lab.core.errors import InputError
from i2v_lab.extensions.reference import TinyPipeline, reference_pipeline, sample_picture
from i2v_lab.pipeline.extension import Extension
from i2v_lab.study.study import Study

PICTURES = {"wide": sample_picture(64, 48), "high": sample_picture(48, 64, seed=1)}
FEW = dict(steps=2, frames=4)
BACKEND = "from i2v_lab.extensions.reference import reference_pipeline\nload = lambda **options: reference_pipeline()\n"


def ask(out, mixes=([], ["kv_cache"]), seeds=1, *, pictures=PICTURES, prompts="zoom in", **more) -> Study:
    """A small study, on the tiny pipeline of this process unless told otherwise."""
    more = dict(pipe=reference_pipeline(), options=FEW, baselines=False) | more
    return Study(pictures, prompts, mixes if isinstance(mixes, (str, dict)) else list(mixes), seeds, out=out, **more)


def away(out, mixes, seeds=1, **more) -> Study:
    """The same, on the tiny pipeline in processes of its own."""
    return ask(out, mixes, seeds, pipe=None, backend="tiny_one", **more)


def kept(study: Study) -> dict[str, int]:
    """When each clip was written."""
    return {p.stem: p.stat().st_mtime_ns for p in (study.out / "clips").iterdir()}


def check_complete(study: Study) -> None:
    """Every clip is there once, can be played, and nothing else is there."""
    table = study.results()
    assert sorted(table["key"]) == sorted(t.key for t in study.trials())
    assert not study.missing() and not study.failures
    assert set(kept(study)) == set(table["key"])
    assert all(len(study.clip(key).frames) == FEW["frames"] for key in table["key"])


@pytest.fixture(scope="module")
def tiny_backend(tmp_path_factory) -> dict[str, str]:
    """An environment whose processes can load the tiny pipeline by a backend's name: they start sooner."""
    folder = tmp_path_factory.mktemp("backend")
    (folder / "tiny_one.py").write_text(BACKEND)
    info = folder / "tiny_one-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny_one\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[i2v_lab.backends]\ntiny_one = tiny_one:load\n")
    return {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def makers(tiny_backend, monkeypatch):
    """Gives the makers that this process has started and that are alive; none may be left in the end."""
    for name, value in tiny_backend.items():
        monkeypatch.setenv(name, value)
    running = lambda: [p for p in psutil.Process().children(recursive=True) if is_maker(p)]
    yield running
    assert running() == []


def is_maker(process: psutil.Process) -> bool:
    """Whether a process makes clips."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE and "i2v_lab.study.maker" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def marked(mark: str) -> list[psutil.Process]:
    """The processes that have something in their environment, and so were started with it."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("STUDY_TEST") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def until(true, seconds: float = 20.0) -> bool:
    """Wait for something."""
    end = time.monotonic() + seconds
    while not (found := true()) and time.monotonic() < end:
        time.sleep(0.05)
    return bool(found)


# what is made

GRID = {"step_cache": {"interval": [2, 3]}, "kv_cache": {}}
LIST = [[], ["kv_cache"], {"step_cache": {"interval": 3}}, ["kv_cache"]]
MIXES = {
    "all": (
        dict(mixes="all", extensions=["kv_cache", "step_cache"]),
        ["", "kv_cache", "step_cache", "kv_cache+step_cache"],
    ),
    "grid": (dict(mixes=GRID), ["", "step_cache+kv_cache", "step_cache(interval=3)+kv_cache"]),
    "list": (dict(mixes=LIST), ["", "kv_cache", "step_cache(interval=3)"]),
}


@pytest.mark.parametrize("kind", MIXES)
def test_each_mix_with_each_picture_prompt_and_seed(kind, tmp_path):
    mixes, labels = MIXES[kind]
    study = ask(tmp_path, seeds=[3, 5], prompts=["it walks", "zoom in"], **mixes)
    trials = study.trials()
    cells = [(t.image, t.prompt, t.seed, frozenset(t.mix.split("+"))) for t in trials]
    wanted = product(PICTURES, ["it walks", "zoom in"], [3, 5], [frozenset(label.split("+")) for label in labels])
    assert Counter(cells) == Counter(wanted)
    assert len({t.key for t in trials}) == len(trials)
    assert all(block[0].mix == "" for block in zip(*[iter(trials)] * len(labels)))
    assert {t.block for t in trials} == set(product(PICTURES, ["it walks", "zoom in"], [3, 5]))


def test_keys_are_the_same_in_another_process(tmp_path):
    code = """
        import sys
        sys.path.insert(0, sys.argv[1])
        from test_study_faults import MIXES, ask
        print(*(t.key for n, (mixes, _) in MIXES.items() for t in ask(f"{sys.argv[2]}/{n}", seeds=2, **mixes).trials()))
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(Path(__file__).parent), str(tmp_path / "there")]
    env = os.environ | {"PYTHONHASHSEED": "1"}
    there = subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout.split()
    here = [t.key for name, (mixes, _) in MIXES.items() for t in ask(tmp_path / name, seeds=2, **mixes).trials()]
    assert here == there and len(here) == 2 * 2 * (4 + 3 + 3)


def test_every_mix_starts_from_the_same_noise(tmp_path, monkeypatch):
    heard, denoise = {}, TinyPipeline.denoise

    def listening(self, latents, t, conditioning):
        heard.setdefault(current[-1], latents.numpy().tobytes())
        return denoise(self, latents, t, conditioning)

    current, make = [], crew.make
    monkeypatch.setattr(TinyPipeline, "denoise", listening)
    monkeypatch.setattr(crew, "make", lambda *a: (current.append(a[2].key), make(*a))[1])
    extensions = ["action_prior", "adaptive_patch", "kv_cache", "step_cache"]
    mixes = [[], *([name] for name in extensions), extensions]
    study = ask(tmp_path, mixes, 2, pictures={"wide": PICTURES["wide"]}).run(progress=False)
    assert not study.failures and len(heard) == len(study.trials()) == 2 * 6
    noise = {seed: {heard[t.key] for t in study.trials() if t.seed == seed} for seed in (0, 1)}
    assert [len(n) for n in noise.values()] == [1, 1] and noise[0] != noise[1]


# what is kept


def test_killed_at_random_moments():
    command = [sys.executable, "tests/bench/kills.py", "--kills", "8", "--seed", str(os.getpid())]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=root)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kills"] == 8 and found["reported"] > 0 and found["complete"], (command, found)
    assert [found[k] for k in ("lost", "duplicates", "made_twice", "strays")] == [0, 0, 0, 0], (command, found)


@contextmanager
def no_room_for_files(monkeypatch):
    """The disk is full when the third clip is put into the study's folder."""
    replace, clips = os.replace, []

    def refuse(source, target):
        clips.extend([target] if Path(target).parent.name == "clips" else [])
        if len(clips) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", refuse)
        yield


@contextmanager
def no_room_for_rows(monkeypatch):
    """The database may not grow: SQLite says itself that the disk is full."""

    class Full(sqlite3.Connection):
        def execute(self, sql, *values):
            if sql.startswith("insert or ignore into rows"):
                super().execute("pragma max_page_count=1")  # as many as there are
                values = ((values[0][0], values[0][1] + " " * 10**5),)
            return super().execute(sql, *values)

    connect = sqlite3.connect
    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", lambda *a, **kw: connect(*a, factory=Full, **kw))
        yield


@pytest.mark.parametrize(
    ("full", "before", "says"), [(no_room_for_files, 2, "No space left"), (no_room_for_rows, 0, "full")]
)
def test_a_full_disk(full, before, says, tmp_path, monkeypatch):
    study = ask(tmp_path)
    with full(monkeypatch), pytest.raises(InputError, match=says) as refused:
        study.run(progress=False)
    assert "what was finished is kept" in str(refused.value) and str(tmp_path) in str(refused.value)
    assert len(study.results()) == before
    times = {key: kept(study)[key] for key in study.results()["key"]}
    check_complete(study.run(progress=False))
    assert times.items() <= kept(study).items()


def test_more_seeds_make_only_what_is_new(tmp_path, monkeypatch):
    made, make = [], crew.make
    monkeypatch.setattr(crew, "make", lambda *a: (made.append(a[2].key), make(*a))[1])
    study = ask(tmp_path, seeds=1, baselines=True).run(progress=False)
    first, times = list(made), kept(study)
    more = ask(tmp_path, seeds=2, baselines=True).run(progress=False)
    new = [t.key for t in more.trials() if t.seed == 1]
    assert len(set(first)) == len(first) and sorted(made[len(first) :]) == sorted(new)
    assert times.items() <= kept(more).items()
    assert more.run(progress=False).missing() == [] and len(made) == len(first) + len(new)


def test_a_loaded_study_has_the_same_results(tmp_path):
    study = ask(tmp_path, seeds=2, baselines=True).run(progress=False)
    loaded = Study.load(tmp_path, pipe=reference_pipeline())
    pd.testing.assert_frame_equal(loaded.results(), study.results())
    assert loaded.missing() == [] and loaded.trials() == study.trials()
    bigger = dict(PICTURES, wide=sample_picture(80, 48))  # another picture by the same name
    other = ask(tmp_path, pictures=bigger).run(progress=False)
    pd.testing.assert_frame_equal(Study.load(tmp_path).results(), other.results())


@pytest.mark.parametrize("damage", ["cut", "mixed up", "not a database"])
def test_a_damaged_journal(damage, tmp_path):
    ask(tmp_path).run(progress=False)
    base = tmp_path / "study.sqlite"
    whole = base.read_bytes()
    broken = {"cut": whole[: len(whole) // 2], "mixed up": whole[:100] + whole[:99:-1], "not a database": b"x" * 9000}
    base.write_bytes(broken[damage])
    for use in (lambda: Study.load(tmp_path).results(), lambda: ask(tmp_path).run(progress=False)):
        with pytest.raises(InputError, match=r"the journal in .* is damaged: .*; put back a copy of study.sqlite"):
            use()
    base.write_bytes(whole)
    assert len(Study.load(tmp_path).results()) == 4


def test_a_second_driver_is_refused(tmp_path):
    refused = []

    def second(state):
        with pytest.raises(InputError, match="another run is at work"):
            ask(tmp_path, seeds=5).run(progress=False)
        refused.append(state.done)

    study = ask(tmp_path).run(progress=False, listener=second)
    check_complete(study)
    assert refused == [1, 2, 3, 4] and Study.load(tmp_path).seeds == [0]


def test_a_folder_of_other_weights_is_refused(tmp_path):
    study = ask(tmp_path).run(progress=False)
    times, other = kept(study), reference_pipeline()
    other.weights_sha256 = "another"
    with pytest.raises(InputError, match="made with other weights; choose another folder"):
        ask(tmp_path, seeds=2, pipe=other).run(progress=False)
    assert kept(study) == times and Study.load(tmp_path).seeds == [0]
    check_complete(study)


# who makes it


def test_a_failing_and_a_hanging_mix_cost_their_own_clips(tmp_path, makers):
    class Fails(Extension):
        name = "fails"

        def decode(self, call_next, latents, image):
            raise RuntimeError("no frames today")

    class Hangs(Extension):
        name = "hangs"

        def decode(self, call_next, latents, image):
            time.sleep(600)

    study = away(tmp_path, [[], [Fails], [Hangs], ["kv_cache"]], pictures={"wide": PICTURES["wide"]})
    study.run(workers=1, seconds=8, retries=0, progress=False)
    assert study.results()["mix"].tolist() == ["", "kv_cache"]
    assert study.results()["identical"].tolist()[1:] == [1.0]
    why = {said.split(",")[0]: reason for said, reason in study.failures.items()}
    assert why.keys() == {"fails", "hangs"}
    assert "no frames today" in why["fails"] and "MakerDied" not in why["fails"]
    assert "took more than 8 s" in why["hangs"]
    assert sorted(kept(study)) == sorted(study.results()["key"])


def test_of_two_makers_one_is_killed_and_one_crashes(tmp_path, makers):
    class Crashes(Extension):
        name = "crashes"

        def decode(self, call_next, latents, image):
            if image.shape == high:
                with open(tries, "a") as file:
                    file.write("x")
                os._exit(3)
            return call_next(latents, image)

    high, tries, killed, reported = PICTURES["high"].shape, str(tmp_path / "tries"), [], []

    def listener(state):
        reported.append(state.row["key"])
        if len(reported) == 3:
            killed.extend(makers())
            killed[0].kill()

    pictures = {str(seed): sample_picture(64, 48, seed) for seed in range(3)} | {"high": PICTURES["high"]}
    study = away(tmp_path / "study", [[], ["kv_cache"], [Crashes]], pictures=pictures)
    study.run(workers=2, retries=1, progress=False, listener=listener)
    assert len(killed) == 2 and Path(tries).read_text() == "xx"
    ((said, why),) = study.failures.items()
    assert said.startswith("crashes, high") and "exit code 3" in why
    wanted = {t.key for t in study.trials()} - {t.key for t in study.missing()}
    assert len(wanted) == 11 and sorted(study.results()["key"]) == sorted(wanted) == sorted(kept(study))
    assert set(reported) == wanted and study.results()["identical"].iloc[1] == 1.0


def test_a_message_that_is_cut_short():
    """A maker that dies while it answers is gone; half an answer is none."""
    import io

    from i2v_lab.study.maker import receive, send

    stream = io.BytesIO()
    send(stream, np.zeros(10**5))
    for size in (0, 5, 8, 9, 10**4):
        with pytest.raises(EOFError, match="gone"):
            receive(io.BytesIO(stream.getvalue()[:size]))


def test_a_maker_that_nobody_asks_ends():
    code = "import i2v_lab.study.maker as m; m.IDLE = 0.1; m.serve()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    assert process.wait(30) == 0
    process.stdin.close()


@contextmanager
def cluster_of_two(folder: Path, env: dict[str, str]):
    """A dask cluster whose two workers are processes with one thread each: its address and the workers."""
    file, running = folder / "scheduler.json", []

    def start(command, *words):
        here = [sys.executable, "-m", f"distributed.cli.{command}", "--scheduler-file", str(file), "--no-dashboard"]
        running.append(subprocess.Popen([*here, *words], env=env, cwd=folder, stderr=subprocess.DEVNULL))

    try:
        start("dask_scheduler", "--port", "0")
        assert until(lambda: file.exists() and file.read_text().endswith("}"), 60)
        for _ in range(2):
            start("dask_worker", "--nthreads", "1", "--no-nanny")
        address = json.loads(file.read_text())["address"]
        with Client(address) as client:
            client.wait_for_workers(2, timeout=60)
        yield address, running[1:]
    finally:
        for process in running:
            process.kill()
            process.wait()


def test_a_cluster_that_loses_a_worker(tmp_path, tiny_backend):
    class Notebooks(Extension):
        """Cannot be imported anywhere else."""

        name = "notebooks"

        def decode(self, call_next, latents, image):
            time.sleep(0.1)
            return call_next(latents, image)

    mark, reported = uuid.uuid4().hex, []
    with cluster_of_two(tmp_path, os.environ | tiny_backend | {"STUDY_TEST": mark}) as (address, workers):

        def listener(state):
            reported.append(state.row["key"])
            if len(reported) == 3:
                assert len([p for p in marked(mark) if is_maker(p)]) == 2
                workers[0].kill()

        study = away(tmp_path / "study", [[], [Notebooks]], 4)
        study.run(cluster=address, progress=False, listener=listener)
        check_complete(study)
        assert sorted(reported) == sorted(t.key for t in study.trials())
        assert until(lambda: not [p for p in marked(mark) if is_maker(p)])
    assert until(lambda: not marked(mark))
    with pytest.raises(InputError, match="no dask scheduler answers at"):
        away(tmp_path / "study", [[]], 9).run(cluster=address, progress=False)


DRIVER = """
    import signal, sys, time
    from i2v_lab.extensions.reference import sample_picture
    from i2v_lab.pipeline.extension import Extension
    from i2v_lab.study.study import Study

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored

    class Hangs(Extension):
        name = "hangs"

        def decode(self, call_next, latents, image):
            print("hanging", file=open(said, "a"), flush=True)
            time.sleep(600)

    said, options = sys.argv[2], dict(steps=2, frames=4)
    study = Study({"a": sample_picture()}, "zoom in", [[], [Hangs]], out=sys.argv[1], backend="tiny_one",
                  baselines=False, options=options)
    for _ in range(2):
        try:
            study.run(workers=1, progress=False)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            sys.stdin.readline()
"""


def test_no_process_is_left_behind(tmp_path, tiny_backend):
    """Interrupted as in a notebook, which lives on; then killed; each while a maker hangs in an extension."""
    mark, said = uuid.uuid4().hex, tmp_path / "said"
    env, command = os.environ | tiny_backend | {"STUDY_TEST": mark}, [sys.executable, "-c", textwrap.dedent(DRIVER)]
    command += [str(tmp_path / "study"), str(said)]
    driver = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    hanging = lambda times: until(lambda: said.exists() and said.read_text().count("hanging") == times, 90)
    try:
        assert hanging(1) and len(marked(mark)) == 2
        driver.send_signal(signal.SIGINT)
        assert driver.stdout.readline() == "interrupted\n"
        assert marked(mark) == [psutil.Process(driver.pid)]
        print(file=driver.stdin, flush=True)
        assert hanging(2) and len(marked(mark)) == 2
        driver.kill()
        assert driver.wait(20) == -signal.SIGKILL and until(lambda: not marked(mark))
        study = Study.load(tmp_path / "study")
        assert study.results()["mix"].tolist() == [""] and len(study.missing()) == 1
    finally:
        for process in marked(mark):
            process.kill()
        driver.wait(20)
