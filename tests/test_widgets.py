"""The player, the gallery, the shell, the forecast and the panel from Python's side: traits, messages, threads. No browser."""

import html
import logging
import re
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import traitlets
from ipywidgets.widgets.widget import _remove_buffers
from PIL import Image

import i2v_lab
from i2v_lab.core.clip import Clip
from i2v_lab.core.errors import InputError
from i2v_lab.pipeline.mix import Mix
from i2v_lab.pipeline.stages import Stopped
from i2v_lab.views import gallery as gallery_module
from i2v_lab.views.draw import DrawPlan
from i2v_lab.views.gallery import Gallery, item_of, thumbnail_of
from i2v_lab.views.needs import OLD, WAITING, Needs, Reason, Wanted, forecast_of, hushed, wanted_of
from i2v_lab.views.panel import Lab
from i2v_lab.views.player import Player
from i2v_lab.views.shell import Shell

STATIC = Path(i2v_lab.__file__).parent / "views" / "static"


def frames(n: int = 5, height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (n, height, width, 3), np.uint8)


def say(widget, content: dict, *buffers: bytes) -> None:
    """A message from the page, by the way that ipywidgets take it."""
    widget._handle_custom_msg(content, [memoryview(b) for b in buffers])


# ---- what is sent


@pytest.mark.parametrize("file", sorted(STATIC.iterdir()), ids=lambda p: p.name)
def test_nothing_is_fetched_from_elsewhere(file):
    text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|@import|\bimport\s*\(|^import ", text, re.M)


@pytest.mark.parametrize("cls", [Player, Gallery, Shell, DrawPlan])
def test_a_widget_is_one_module(cls):
    assert len(re.findall(r"^export ", cls._esm, re.M)) == 1
    names = re.findall(r"^(?:async )?(?:function|const|let) (\w+)", cls._esm, re.M)
    assert len(names) == len(set(names)), "two joined files use the same name"
    used = re.findall(r'(?:model\.[gs]et\(|setTrait\(model, |"change:|listen\(model, ")"?(\w+)"', cls._esm)
    assert set(used) <= set(cls.class_traits(sync=True)), "the page asks for a trait that is not there"


def test_frames_travel_as_bytes():
    state, _, buffers = _remove_buffers(Player().show(frames()).get_state())
    assert len(buffers) == 5 and all(bytes(b).startswith(b"\xff\xd8") for b in buffers)
    assert state["lanes"][0]["width"] == 64


# ---- player


def test_a_preview_keeps_the_frame_and_goes_on_playing():
    player = Player().show(frames(), play=True)
    player.frame = 3
    seen = []
    player.observe(lambda change: seen.append(change["name"]))
    player.show(Clip(255 - frames(), fps=12), note="preview of step 2/4")
    assert (player.frame, player.playing) == (3, True)
    assert seen == ["fps", "note", "lanes"]  # the frames come last: all else is there when they are drawn
    player.show(frames(), play=False)
    assert (player.playing, player.note) == (False, "")


def test_showing_from_a_thread():
    player = Player()
    thread = threading.Thread(target=lambda: player.show(frames(), "made elsewhere"))
    thread.start()
    thread.join()
    assert player.lanes[0]["name"] == "made elsewhere"


def test_comparing_clips_of_different_size_and_length():
    player = Player().compare(frames(3), frames(7, 96, 40), names=("short", "long"))
    assert [(len(lane["frames"]), lane["width"], lane["height"]) for lane in player.lanes] == [(3, 64, 48), (7, 40, 96)]
    with pytest.raises(ValueError):
        player.compare(frames(), frames(), names=("only one",))


def test_what_a_player_refuses():
    player = Player()
    with pytest.raises(InputError, match="uint8"):
        player.show(frames() / 255)
    with pytest.raises(traitlets.TraitError):
        player.mode = "wipe"
    assert player.lanes == []


def test_players_do_not_share_lanes():
    shown, empty = Player().show(frames()), Player()
    assert shown.lanes and not empty.lanes


# ---- gallery


@pytest.fixture
def pictures(tmp_path):
    paths = []
    for k in range(30):
        paths.append(str(tmp_path / f"{k:02}.png"))
        Image.fromarray(frames(1)[0]).save(paths[-1])
    return paths


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK"])
def test_any_kind_of_picture_has_a_thumbnail(tmp_path, mode):
    path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    Image.fromarray(frames(1, 200, 400)[0]).convert(mode).save(path)
    (tmp_path / "t.jpg").write_bytes(thumbnail_of(path, 50))
    with Image.open(tmp_path / "t.jpg") as thumb:
        assert (thumb.size, thumb.mode) == ((100, 50), "RGB")


def test_a_thumbnail_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # turned by a quarter
    Image.fromarray(frames(1, 200, 400)[0]).save(tmp_path / "x.jpg", exif=exif)
    (tmp_path / "t.jpg").write_bytes(thumbnail_of(tmp_path / "x.jpg", 50))
    with Image.open(tmp_path / "t.jpg") as thumb:
        assert thumb.size == (50, 100)


def test_names_are_there_before_thumbnails(pictures, monkeypatch):
    go, calls = threading.Event(), []
    monkeypatch.setattr(gallery_module, "thumbnail_of", lambda path, side: go.wait(5) and b"thumb " + path.encode())
    gallery = Gallery()
    gallery.observe(lambda change: calls.append([bool(i["thumb"]) for i in change["new"]]), "items")
    thread = gallery.show_files([(Path(p).stem, p) for p in pictures])
    assert [i["name"] for i in gallery.items] == [f"{k:02}" for k in range(30)]
    gallery.add("mine", "mine", b"my thumb")  # while the thread works
    go.set()
    thread.join(10)
    assert gallery.items[0] == item_of("mine", "mine", b"my thumb")
    assert all(i["thumb"] == b"thumb " + i["key"].encode() for i in gallery.items[1:])
    assert [sum(c) for c in calls] == [0, 1, 25, 31]  # in chunks


def test_a_second_folder_wins_over_a_first_that_still_works(pictures, monkeypatch):
    go = threading.Event()
    monkeypatch.setattr(gallery_module, "thumbnail_of", lambda path, side: go.wait(5) and b"thumb")
    gallery = Gallery()
    first = gallery.show_files([("old", p) for p in pictures])
    second = gallery.show_files([("new", pictures[0])])
    go.set()
    first.join(10)
    second.join(10)
    assert [(i["name"], i["thumb"]) for i in gallery.items] == [("new", b"thumb")]


def piece(gallery, file: str, start: int, content: bytes, *, last: bool = False) -> None:
    """A piece of a dropped file, as the page sends it."""
    say(gallery, dict(kind="file", id=file, name=f"{file}.jpg", start=start, last=last), content)


@pytest.fixture
def received():
    """A gallery of small files, and what it has handed over."""
    gallery, got = Gallery(max_bytes=1000), []
    gallery.on_file(lambda name, content: got.append((name, content)))
    return gallery, got


def test_a_dropped_file_comes_in_pieces(received):
    gallery, got = received
    piece(gallery, "a", 0, b"one ")
    say(gallery, dict(kind="something else"))
    piece(gallery, "a", 4, b"two", last=True)
    assert got == [("a.jpg", b"one two")]


def test_a_second_file_overtakes_one_that_is_on_its_way(received):
    gallery, got = received
    piece(gallery, "a", 0, b"one ")
    piece(gallery, "b", 0, b"the ")
    piece(gallery, "a", 4, b"two", last=True)  # it was under way already
    piece(gallery, "b", 4, b"other", last=True)
    assert got == [("b.jpg", b"the other")]


def test_an_upload_that_was_broken_off_leaves_nothing(received):
    gallery, got = received
    piece(gallery, "a", 0, b"x" * 900)
    piece(gallery, "b", 0, b"y", last=True)
    piece(gallery, "c", 0, b"z")
    piece(gallery, "c", 2, b"z", last=True)  # the piece between was lost
    piece(gallery, "d", 0, b"z", last=True)
    assert got == [("b.jpg", b"y"), ("d.jpg", b"z")] and not gallery._arriving[1]


def test_a_file_that_is_too_large_is_refused_here_too(received):
    gallery, got = received
    piece(gallery, "huge", 0, b"x" * 600)
    piece(gallery, "huge", 600, b"x" * 600)
    piece(gallery, "huge", 1200, b"x" * 600, last=True)  # it was sent before the page heard of it
    assert got == [] and "huge.jpg is over" in gallery.error
    assert not gallery._arriving[1]
    piece(gallery, "small", 0, b"x", last=True)
    assert got == [("small.jpg", b"x")] and not gallery.error


@pytest.mark.parametrize(
    "raised, told",
    [(InputError("no picture; give another"), "no picture; give another"), (KeyError("x"), "KeyError: 'x'")],
)
def test_what_a_listener_raises_is_shown(raised, told):
    def refuse(name, content):
        raise raised

    gallery = Gallery()
    gallery.on_file(refuse)
    piece(gallery, "a", 0, b"x", last=True)
    assert gallery.error == told


def test_choosing_is_heard():
    gallery, heard = Gallery([item_of("a", "1"), item_of("b", "2")]), []
    gallery.observe(lambda change: heard.append(change["new"]), "value")
    gallery.set_state({"value": "2"})  # as the page does
    assert heard == ["2"]


# ---- shell


def test_escape_is_heard_and_other_messages_are_not():
    shell, keys = Shell(), []
    shell.on_key(keys.append)
    say(shell, {"copied": True})
    say(shell, {"key": "Escape"})
    assert keys == ["Escape"]


def test_each_message_has_its_own_number(monkeypatch):
    sent = []
    monkeypatch.setattr(Shell, "send", lambda self, content, buffers=None: sent.append((content, buffers)))
    shell = Shell()
    shell.copy("text")
    shell.download("a.txt", "grün")
    shell.download("a.bin", b"\x00\x01")
    assert len({content["id"] for content, _ in sent}) == 3
    assert [buffers for _, buffers in sent[1:]] == [["grün".encode()], [b"\x00\x01"]]
    for name in ("", "a/b.txt", "..\\b.txt"):
        with pytest.raises(InputError, match="without a folder"):
            shell.download(name, b"")


# ---- what a run would need


SOME = Wanted("motiondit", (96, 64), 8, True, (), "fp32", "cpu", Mix(None))


def part(**kinds):
    """A forecast of some bytes in every part."""
    from i2v_lab.forecasting.forecast import Forecast, Part

    parts = {name: Part(2**30, kinds.get(name, 2**30), 0, 0) for name in ("text", "image", "denoise", "decode")}
    return Forecast("motiondit", (96, 64), 8, 12, (), "fp32", "cpu", parts, {})


def until(question, seconds: float = 10.0) -> None:
    """Wait for a yes."""
    end = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.005)


@pytest.fixture
def asking():
    """A bar whose forecasts are made by the test: what was asked, and the bar."""
    made = []
    part()  # what it imports takes seconds, which no test should wait for

    def make(wanted, stop):
        made.append(wanted.frames)
        if wanted.frames == 13:
            raise ValueError("thirteen")
        return part(decode=wanted.frames * 2**30)

    needs = Needs(make=make, seconds=0.1)
    yield made, needs
    needs.close()


def test_only_the_last_of_many_changes_is_forecast(asking):
    made, needs = asking
    needs.seconds = 2.0  # the changes must come faster than that on a slow machine, too
    for frames_ in (2, 3, 4, 5):
        needs.ask(replace(SOME, frames=frames_))
        time.sleep(0.02)
    assert needs.widget.value == WAITING and not made
    until(lambda: needs.widget.value != WAITING)
    assert made == [5] and "needs 6.00 GiB (in decode); " in needs.widget.value


def test_the_same_values_are_forecast_once(asking):
    made, needs = asking
    for frames_ in (2, 3):
        needs.ask(replace(SOME, frames=frames_))
        until(lambda gib=frames_ + 1: f"needs {gib}.00 GiB" in needs.widget.value)
    needs.ask(replace(SOME, frames=2, mix=Mix(None)))
    assert "needs 3.00 GiB" in needs.widget.value and made == [2, 3]
    needs.ask(None)
    assert needs.widget.value == ""
    needs.ask(replace(SOME, frames=3))
    assert "needs 4.00 GiB" in needs.widget.value and made == [2, 3]


def test_a_forecast_that_fails_is_a_quiet_line(asking):
    made, needs = asking
    needs.ask(replace(SOME, frames=13))
    until(lambda: needs.widget.value != WAITING)
    assert "no forecast: ValueError: thirteen" in needs.widget.value and "i2v-bad" not in needs.widget.value
    needs.ask(replace(SOME, frames=4))
    until(lambda: "needs 5.00 GiB" in needs.widget.value)
    needs.ask(replace(SOME, frames=13))
    assert "thirteen" in needs.widget.value and made == [13, 4]


def test_no_forecast_while_a_clip_is_made():
    """One that is on its way is broken off; it is made when the clip is finished."""
    busy, began, ended = threading.Event(), [], []

    def make(wanted, stop):
        began.append(busy.is_set())
        until(lambda: stop.is_set() or len(began) > 1)
        if stop.is_set():
            ended.append("stopped")
            raise Stopped(0, 0)
        return part()

    needs = Needs(busy.is_set, make, seconds=0.05)
    needs.ask(SOME)
    until(lambda: began)
    busy.set()
    needs.make_room()
    assert ended
    time.sleep(0.3)
    assert began == [False] and needs.widget.value == WAITING
    busy.clear()
    until(lambda: needs.widget.value != WAITING)
    assert began == [False, False] and "needs 2.00 GiB" in needs.widget.value
    needs.close()


def test_an_answer_that_comes_too_late_is_kept_and_not_shown():
    go, began, seen = threading.Event(), [], []

    def make(wanted, stop):  # one that cannot be stopped
        began.append(wanted.frames)
        go.wait(10)
        return part(decode=wanted.frames * 2**30)

    needs = Needs(make=make, seconds=0.02)
    needs.widget.observe(lambda change: seen.append(change["new"]), "value")
    needs.ask(replace(SOME, frames=2))
    until(lambda: began)
    needs.ask(replace(SOME, frames=3))
    go.set()
    until(lambda: needs.widget.value != WAITING)
    assert began == [2, 3] and not any("needs 3.00 GiB" in value for value in seen)
    needs.ask(replace(SOME, frames=2))
    assert "needs 3.00 GiB" in needs.widget.value and began == [2, 3]
    needs.close()


# ---- a model of another family


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A tiny checkpoint of a family that reads no words, on a canvas of its own."""
    from i2v_lab.backends.tiny import tiny_checkpoint

    return i2v_lab.load_pipeline(
        "diffusers",
        model=str(tiny_checkpoint("svd", tmp_path_factory.mktemp("svd") / "svd")),
        size="128x64",
        device="cpu",
    )


@pytest.fixture
def panel(other):
    """The panel with it; forecasts are numbers."""
    panel = Lab(other)
    panel.needs.make = lambda wanted, stop: part()
    panel.controls.use(frames(1, 90, 96)[0], "mine")
    panel.controls.steps.value, panel.controls.frames.value = 3, 5
    yield panel
    panel.needs.close()


def shown(panel) -> list[tuple]:
    return [(lane["name"], len(lane["frames"]), lane["width"], lane["height"]) for lane in panel.player.lanes]


def test_the_panel_takes_a_diffusers_pipeline(panel, other):
    c = panel.controls
    assert (c.guidance.value, c.guidance.max) == (3.0, 8) and c.frames.max == 64
    assert "reads no words" in c.unread.value
    panel.run(block=True)
    assert panel.status.value == "done", panel.status.value
    assert panel.clip.frames.shape == (5, 64, 128, 3) and shown(panel) == [("clip", 5, 128, 64)]
    assert "the prompt was not used" in panel.clip.settings["note"] and "the prompt was not used" in panel.note.value
    assert "understood" not in panel.note.value and panel.trace.problems == {}
    for view in (panel.patches, panel.attention, panel.actions, panel.memory, panel.motion):
        assert view.data, view
    assert panel.history.records[0].lane("A")["width"] == 128
    until(lambda: "needs 2.00 GiB (in text); this machine has" in panel.needs.widget.value)
    assert f"lab.load_pipeline('diffusers', model={other.about['model']!r}, size='128x64')" in panel.python
    compile(panel.python, "call", "exec")


def test_stop_mix_and_history_of_a_diffusers_pipeline(panel):
    panel.controls.mix.switch(["kv_cache", "step_cache"])
    panel.run(block=True)
    assert panel.status.value == "done" and sorted(panel.clip.settings["mix"]) == ["kv_cache", "step_cache"]
    panel.controls.mix.switch([])
    panel.controls.steps.value = 60
    panel.run()
    until(lambda: panel.run_now is None or panel.run_now.step >= 2)
    panel.stop.click()
    before = panel.run_now.step
    panel.job.thread.join(20)
    assert panel.status.value == "stopped" and panel.clip is None
    assert shown(panel) == [("preview", 5, 128, 64)]
    stopped = panel.history.records[-1]
    assert int(re.search(r"\d+", stopped.status)[0]) <= before + 1 and stopped.frames
    panel.restore(panel.history.records[0])
    assert sorted(panel.controls.mix.value) == ["kv_cache", "step_cache"] and shown(panel) == [("clip", 5, 128, 64)]


def test_the_panel_asks_for_what_changes_the_memory(panel):
    """And for nothing else; while a clip is made it waits."""
    asked = []
    panel.needs.make = lambda wanted, stop: asked.append(wanted) or part()
    panel.needs.seconds = 0.02
    panel.controls.frames.value = 6
    until(lambda: asked)
    for change in (dict(seed=3), dict(steps=9), dict(guidance=7.0)):
        for name, value in change.items():
            getattr(panel.controls, name).value = value
    panel.controls.prompt.value = "it runs"
    time.sleep(0.2)
    assert len(asked) == 1 and asked[0].size == (128, 64)
    with_clip = panel.job.claim("a clip is being made")
    panel.controls.guidance.value = 1.0
    time.sleep(0.2)
    assert with_clip and len(asked) == 1 and OLD in panel.needs.widget._dom_classes
    panel.job.lock.release()
    until(lambda: len(asked) == 2)
    assert [w.guided for w in asked] == [True, False]


def test_a_pipeline_that_settings_name(panel, other, monkeypatch):
    """Its numbers come with it, when it is loaded; what a user has set stays."""
    ready = threading.Event()
    monkeypatch.setattr("i2v_lab.views.panel.load_pipeline", lambda: ready.wait(10) and other)
    late = Lab()
    late.needs.make = lambda wanted, stop: part()
    assert late.needs.widget.value == WAITING
    late.controls.steps.value = 5
    ready.set()
    late.loading.join()
    c, own = late.controls, other.parts.unet.config.num_frames
    assert own != i2v_lab.load_pipeline().defaults["num_frames"]
    assert [c.steps.value, c.frames.value, c.guidance.value] == [5, own, 3.0] and "reads no words" in c.unread.value
    assert "size='128x64'" in late.python
    late.needs.close()


def test_a_forecast_can_be_broken_off_and_made_again(other):
    """To look at a stop changes no number, and leaves nothing behind."""
    from i2v_lab.forecasting.forecast import forecast

    picture, asked = frames(1)[0], dict(num_frames=5, cfg_scale=3.0, mix=["kv_cache"])
    wanted = wanted_of(other, asked, picture)
    begin = time.monotonic()
    with pytest.raises(Stopped):
        forecast_of(wanted, Reason(lambda: time.monotonic() - begin > 1))
    made = forecast_of(wanted, Reason(lambda: False))
    with hushed():
        plain = forecast(wanted.model, (128, 64), 5, ["kv_cache"], wanted.dtype, cfg_scale=2.0, device="cpu")
    assert made.parts == plain.parts and made.size == (128, 64)
    assert other.generate(picture, "a", num_inference_steps=1, num_frames=3).frames.dtype == np.uint8


def test_only_the_thread_of_a_forecast_is_hushed():
    heard = []
    log, ear = logging.getLogger("diffusers"), logging.Handler()
    ear.emit = lambda record: heard.append(record.getMessage())
    log.addHandler(ear)
    try:
        with hushed():
            log.error("of the forecast")
            thread = threading.Thread(target=log.error, args=("of a cell",))
            thread.start()
            thread.join()
        log.error("after it")
    finally:
        log.removeHandler(ear)
    assert heard == ["of a cell", "after it"]


def test_a_bar_says_it_without_colour():
    from i2v_lab.views.needs import told

    said = html.unescape(told(part(decode=7 * 2**30), 4 * 2**30, machine=False))
    assert "too much: your device has 4.00 GiB" in said and "decode 8.0 GiB" in said
    assert said.count("i2v-needs-row") == 4 and said.count("i2v-needs-most") == 1 and "role='img'" in said
