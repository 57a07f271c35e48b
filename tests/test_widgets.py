"""The player, the gallery and the shell from Python's side: traits, messages, threads. No browser."""

import re
import threading
from pathlib import Path

import numpy as np
import pytest
import traitlets
from ipywidgets.widgets.widget import _remove_buffers
from PIL import Image

import i2v_lab
from i2v_lab.core.clip import Clip
from i2v_lab.core.errors import InputError
from i2v_lab.views import gallery as gallery_module
from i2v_lab.views.gallery import Gallery, item_of, thumbnail_of
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


@pytest.mark.parametrize("cls", [Player, Gallery, Shell])
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
