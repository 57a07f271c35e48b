"""The wall, the report and the study panel without a browser: what is sent, what is written, and what goes wrong."""

import json
import re
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

import i2v_lab
from i2v_lab.core.clip import Clip
from i2v_lab.core.errors import InputError
from i2v_lab.extensions.reference import reference_pipeline, sample_picture
from i2v_lab.study.baselines import draw_camera, exact_path
from i2v_lab.study.journal import add, fail, set_fact
from i2v_lab.study.metrics import METRICS
from i2v_lab.study.trial import video_of
from i2v_lab.training.sources import data_root
from i2v_lab.views.report import LOOKS, films_of, fitting, keys_made, report
from i2v_lab.views.study_panel import Choice, Inside, Study, StudyPanel
from i2v_lab.views.study_wall import (
    EffectsView,
    Wall,
    cell_film,
    cells_of,
    effects_data,
    film_of,
    wall_data,
)

MIXES = [[n for k, n in enumerate(("action_prior", "kv_cache", "step_cache")) if i >> k & 1] for i in range(8)]


def small(folder: Path, **kw) -> Study:
    given = dict(options=dict(steps=4, frames=5), pipe=reference_pipeline()) | kw
    return Study(
        {"red box": sample_picture(96, 64)}, {"it walks": "walk"}, [[], "kv_cache", "step_cache"], out=folder, **given
    )


def made_up(folder: Path) -> Study:
    """8 mixes x 4 photos x 2 prompts x 2 seeds of 16 frames, none of them made by a model: photos moved by a camera, a little more with each extension."""
    photos = sorted((data_root() / "photos").glob("*.jpg"))[::20][:4]
    study = Study(
        photos,
        {"zoom in": "zoom_in", "pan left": "pan_left"},
        MIXES,
        2,
        out=folder,
        options=dict(steps=12, frames=16, size=512),
    )
    rng, films = np.random.default_rng(0), {}
    for trial in study.trials():
        picture = study.pictures[trial.image]
        strength = 1 + 0.1 * trial.seed + 0.2 * ("step_cache" in trial.mix) + 0.05 * ("action_prior" in trial.mix)
        of = (trial.image, trial.prompt, strength)
        if of not in films:
            path = exact_path(i2v_lab.Action.parse(trial.expected), 16, picture.shape[1] / min(picture.shape[:2]))
            film = video_of(Clip(draw_camera(picture, path * strength), 8.0))
            films = {of: film} | dict(list(films.items())[:8])
        exact = float(strength == 1 + 0.1 * trial.seed)
        row = dict(
            image=trial.image,
            prompt=trial.prompt,
            seed=trial.seed,
            mix=trial.mix,
            asked=trial.expected,
            judged="zoom_in",
        )
        row |= {name: float(rng.random()) for name in METRICS} | dict(
            as_asked=float(trial.expected == "zoom_in"), identical=exact
        )
        name = f"clips/{trial.key}.mp4"
        add(study.journal, trial.key, row | dict(key=trial.key, clip=name), {name: films[of]})
    set_fact(study.journal, "spec", study.spec())
    set_fact(
        study.journal,
        "about",
        dict(backend="made up", weights_sha256="0" * 64, device="cpu", dtype="fp32", versions={}),
    )
    return study


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    return small(tmp_path_factory.mktemp("study")).run(progress=False)


# ---- what is sent


@pytest.mark.parametrize("cls", [Wall, EffectsView, Choice])
def test_a_widget_is_one_module(cls):
    assert len(re.findall(r"^export ", cls._esm, re.M)) == 1
    names = re.findall(r"^(?:async )?(?:function|const|let) (\w+)", cls._esm, re.M)
    assert len(names) == len(set(names)), "two joined files use the same name"
    used = re.findall(r'(?:model\.[gs]et\(|setTrait\(model, |"change:)"?(\w+)"', cls._esm)
    assert used and set(used) <= set(cls.class_traits(sync=True)), "the page asks for a trait that is not there"


def test_a_study_that_was_not_run_is_shown(tmp_path):
    study = small(tmp_path)
    assert {c["state"] for c in cells_of(study)} == {"waiting"}
    assert "problem" in effects_data(study)
    json.dumps(wall_data(study), allow_nan=False)
    study.view()


def test_what_failed_says_why(tmp_path):
    study = small(tmp_path)
    lost = study.trials()[1].key
    fail(study.journal, lost, "the worker <died>")
    cell = next(c for c in cells_of(study) if c["key"] == lost)
    assert (cell["state"], cell["why"]) == ("failed", "the worker <died>")
    study.run(progress=False)
    fail(study.journal, lost, "the worker <died>")  # it is there now: a failure of the past
    assert next(c for c in cells_of(study) if c["key"] == lost)["state"] == "done"


@pytest.mark.parametrize(("count", "height", "width"), [(1, 33, 50), (5, 64, 96), (8, 16, 16), (19, 40, 24)])
def test_every_frame_is_in_its_place_in_a_film(count, height, width):
    frames = np.stack([np.full((height, width, 3), 12 * k + 10, np.uint8) for k in range(count)])
    about, file = film_of(frames, 95)
    whole = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)
    for k in range(count):
        x, y = k % about["across"] * about["step"][0], k // about["across"] * about["step"][1]
        assert abs(whole[y : y + height, x : x + width].astype(int) - (12 * k + 10)).max() <= 3


def test_the_difference_is_of_the_videos_and_not_of_the_copies():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 255, (3, 200, 300, 3), np.uint8)
    b = a.copy()
    b[1, 50, 60] ^= 64  # one pixel
    about, _ = cell_film(b, a, side=64, quality=30)
    assert (about["difference"]["largest"], about["difference"]["mean"] > 0) == (64, True)
    assert cell_film(a, a, side=64, quality=30)[0]["difference"]["largest"] == 0


def test_a_video_that_is_gone_is_said(tmp_path):
    study = small(tmp_path).run(progress=False)
    wall = Wall().show(study)
    key = study.trials()[1].key
    (study.out / "clips" / f"{key}.mp4").unlink()
    sent = []
    wall.send = lambda content, buffers: sent.append((content, buffers))
    wall.heard(dict(films=[key, study.trials()[0].key]))
    wall.pool.shutdown()
    films, buffers = sent[0][0]["films"], sent[0][1]
    assert films[0]["problem"] == "its video is not in the folder"
    assert films[1]["part"] == 0 and len(buffers) == 1


def test_messages_that_make_no_sense(study):
    wall = Wall().show(study)
    for message in (None, "x", {}, {"films": None}, {"films": []}):
        wall.heard(message)
    assert Wall().heard(dict(films=["a"])) is None  # a wall without a study


# ---- the report


def test_no_prompt_can_break_the_page(tmp_path):
    evil = "</script><script>alert(1)</script> <!-- \u2028 ' \" & ]]>"
    study = Study(
        {"a": sample_picture()},
        evil,
        [[], "kv_cache"],
        out=tmp_path / "out",
        options=dict(steps=2, frames=3),
        pipe=reference_pipeline(),
    ).run(progress=False)
    text = study.report(tmp_path / "r.html", title=evil).read_text(encoding="utf-8")
    assert "alert(1)</script>" not in text and "<script>alert" not in text
    assert text.count("</script>") == len(re.findall(r"<script[ >]", text))
    state = json.loads(re.search(r"id='state'>(.*?)</script>", text, re.S)[1])
    assert state["wall"]["data"]["rows"][0]["prompt"] == evil


def test_failures_are_in_the_report(tmp_path):
    study = small(tmp_path / "out").run(progress=False)
    with study.journal.opened() as base:
        base.execute("delete from rows where key = ?", (study.trials()[1].key,))
    fail(study.journal, study.trials()[1].key, "the worker <died>")
    text = study.report(tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Could not be made" in text and "the worker &lt;died&gt;" in text


def test_a_report_that_cannot_be_written_leaves_nothing(study, tmp_path, monkeypatch):
    (tmp_path / "r.html").write_text("older")
    monkeypatch.setattr("i2v_lab.views.report.failures_html", lambda study: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report(study, tmp_path / "r.html")
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"] and (tmp_path / "r.html").read_text() == "older"


def test_less_room_makes_smaller_frames(study):
    keys = keys_made(study)
    whole = sum(map(len, films_of(study, LOOKS[0], keys)[1].values())) * 4 / 3
    chosen = fitting(study, keys, int(whole * 0.7))
    assert LOOKS.index(chosen) > 0
    assert sum(map(len, films_of(study, chosen, keys)[1].values())) * 4 / 3 <= whole * 0.7


def test_it_is_the_hash_of_the_weights_and_not_the_folder_that_is_told(study, tmp_path):
    text = study.report(tmp_path / "r.html").read_text(encoding="utf-8")
    assert str(study.out) not in text and str(tmp_path) not in text
    assert "weights sha256" in text and "study.yaml" in text


# ---- looking inside, and the panel


def test_what_cannot_be_made_again_is_said(study):
    inside = Inside(reference_pipeline(), engaged=lambda: True)
    inside.look()
    assert inside.status.value == "click a clip first"
    inside.show(study, study.trials()[1].key)
    inside.look()
    assert "stop the run first" in inside.status.value
    inside.show(study, "nowhere")
    assert inside.widget.layout.display == "none"


def test_a_clip_that_fails_again_is_a_sentence(study):
    class Broken:
        def using(self, mix):
            raise RuntimeError("out of <memory>")

    inside = Inside(Broken())
    inside.show(study, study.trials()[1].key)
    inside.look(block=True)
    assert inside.status.value == "error: RuntimeError: out of &lt;memory&gt;"
    assert not inside.button.disabled


def pressed(folder: Path, **kw) -> StudyPanel:
    panel = StudyPanel(reference_pipeline(), out=folder)
    panel.prompts.value, panel.steps.value, panel.frames.value, panel.size.value = "zoom in => zoom_in", 2, 3, 192
    panel.pictures.value = panel.pictures.value[:1]
    return panel


def test_stop_keeps_what_was_made(tmp_path):
    panel = pressed(tmp_path / "out")
    seen = threading.Event()
    original = Study.write_down

    def stopping(self, *args):
        original(self, *args)
        panel.ask_to_stop()
        seen.set()

    Study.write_down = stopping
    try:
        panel.run(block=True)
    finally:
        Study.write_down = original
    assert seen.is_set() and re.fullmatch(r"stopped, \d+ clips left", panel.status.value), panel.status.value
    made = len(panel.study.results())
    assert 0 < made < panel.bar.max
    panel.run(block=True)
    assert panel.status.value == "done" and len(panel.study.results()) > made


def test_a_folder_that_is_a_file_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    panel = pressed(tmp_path / "file")
    panel.run(block=True)
    assert panel.status.value.startswith("error:") and "is a file" in panel.status.value
    assert not panel.run_button.disabled


def test_no_picture_no_run(tmp_path):
    panel = pressed(tmp_path / "out")
    panel.pictures.value = []
    assert panel.run_button.disabled and ": 0 clips" in panel.info.value


def test_report_of_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match="no clip yet"):
        small(tmp_path / "out").report(tmp_path / "r.html")
