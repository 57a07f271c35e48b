"""Every mix of the registered extensions is run: on the tiny pipeline and on the shipped model."""

import json

import pytest

import i2v_lab as lab
from i2v_lab.extensions.compatibility import LARGEST, compatibility, subsets
from i2v_lab.extensions.reference import reference_pipeline, sample_picture
from i2v_lab.pipeline.extension import Extension
from i2v_lab.pipeline.registry import find_extension, list_extensions, register, unregister

working = [row.name for row in list_extensions() if row.status == "ok"]


class Halve(Extension):
    """Half of every prediction."""

    name = "halve"

    def denoise(self, call_next, latents, t, conditioning):
        return 0.5 * call_next(latents, t, conditioning)


class NotSoExact(Extension):
    """Says exact, and is so alone."""

    name, exact = "not_so_exact", True

    def attach(self, pipe):
        self.pipe = pipe

    def denoise(self, call_next, latents, t, conditioning):
        return call_next(latents, t, conditioning) * (1 if len(self.pipe.extensions) == 1 else 1.1)


class Crashes(Extension):
    """Cannot stand beside another one."""

    name = "crashes"

    def attach(self, pipe):
        self.pipe = pipe

    def denoise(self, call_next, latents, t, conditioning):
        if len(self.pipe.extensions) > 1:
            raise ZeroDivisionError("too many")
        return call_next(latents, t, conditioning)


class Undeclared(Extension):
    """Refuses another one without declaring it."""

    name, order = "undeclared", 9

    def attach(self, pipe):
        if hasattr(pipe, "taken"):
            raise lab.InputError("somebody is here")


class Takes(Extension):
    """Takes a place that another one wants."""

    name, order = "takes", 99  # innermost: attached first

    def attach(self, pipe):
        pipe.taken = True

    def detach(self, pipe):
        del pipe.taken


class Picky(Extension):
    """Wants another pipeline."""

    name = "picky"

    def attach(self, pipe):
        raise lab.InputError("this is not the pipeline")


class Leaves(Extension):
    """Leaves something behind."""

    name = "leaves"

    def attach(self, pipe):
        pipe.model.decoder.left = 1


class Apart(Extension):
    """Declares a conflict."""

    name, conflicts = "apart", ("halve",)


class Needs(Extension):
    """Requires another one."""

    name, requires = "needs", ("halve",)


@pytest.fixture
def matrix_of(request):
    """A matrix of classes made for it, on the tiny pipeline."""
    known = []

    def make(*classes, pipe=None, **asked):
        known.extend(register(cls) for cls in classes)
        return compatibility(pipe, [cls.name for cls in classes], pictures=[sample_picture()], **asked)

    yield make
    for cls in known:
        unregister(cls.name)


def status(matrix) -> dict[str, str]:
    return {" ".join(sorted(row.mix)): row.status for row in matrix.rows}


def test_every_mix_on_the_tiny_pipeline():
    heard = []
    matrix = compatibility(listener=heard.append)
    assert matrix.failed == [], matrix
    assert matrix.count("refused") == 0, matrix.table()
    assert len(matrix.rows) == len(heard) == 2 ** len(working)
    assert not matrix.left_out
    for row in matrix.rows:
        if row.status == "ok" and row.exact:
            assert row.difference == 0, row


def test_every_mix_on_the_classes_of_the_shipped_model(small_pipe):
    matrix = compatibility(small_pipe, pictures=[sample_picture(96, 64)], num_inference_steps=4, num_frames=3)
    assert matrix.failed == [], matrix
    assert matrix.count("refused") == 0, matrix.table()
    assert len(matrix.rows) == 2 ** len(working)
    assert small_pipe.mix.names == []


def test_every_exact_mix_on_the_shipped_model(pipe):
    exact = [name for name in working if find_extension(name).exact]
    matrix = compatibility(pipe, exact, pictures=[sample_picture(96, 64)], num_inference_steps=4, num_frames=3)
    assert matrix.count("ok") == 2 ** len(exact) >= 4 and not any(row.difference for row in matrix.rows), matrix.table()


def test_a_pair_that_breaks_a_promise_is_reported(matrix_of):
    matrix = matrix_of(Halve, NotSoExact)
    assert status(matrix) == {"": "ok", "halve": "ok", "not_so_exact": "ok", "halve not_so_exact": "failed"}
    assert "not_so_exact is exact" in matrix.failed[0].reason and matrix.failed[0].difference > 0


def test_a_pair_that_crashes_is_reported(matrix_of):
    matrix = matrix_of(Crashes, Halve)
    assert [row.mix for row in matrix.failed] == [("crashes", "halve")]
    assert matrix.failed[0].reason == "ZeroDivisionError: too many"


def test_a_conflict_must_be_declared(matrix_of):
    pipe = reference_pipeline()
    matrix = matrix_of(Takes, Undeclared, pipe=pipe)
    assert status(matrix)["takes undeclared"] == "failed"
    assert "declared" in matrix.failed[0].reason
    assert not hasattr(pipe, "taken")


def test_declared_conflicts_and_needs_are_no_failures(matrix_of):
    matrix = matrix_of(Halve, Apart, Needs)
    assert matrix.failed == []
    assert status(matrix) == {
        "": "ok",
        "halve": "ok",
        "apart": "ok",
        "needs": "conflict",
        "apart halve": "conflict",
        "halve needs": "ok",
        "apart needs": "conflict",
        "apart halve needs": "conflict",
    }
    assert "cannot share a mix" in matrix.rows[4].reason


def test_what_refuses_the_pipeline_is_refused_in_every_mix(matrix_of):
    matrix = matrix_of(Picky, Halve)
    assert status(matrix) == {"": "ok", "picky": "refused", "halve": "ok", "halve picky": "refused"}


def test_what_is_left_behind_is_reported_and_put_right(matrix_of):
    pipe = reference_pipeline()
    matrix = matrix_of(Leaves, Halve, pipe=pipe)
    assert {row.mix for row in matrix.failed} == {("leaves",), ("halve", "leaves")}
    assert "'left' was added in model.decoder" in matrix.failed[0].reason
    assert not hasattr(pipe.model.decoder, "left")


def test_what_the_bare_pipeline_leaves_behind_is_reported_and_the_others_go_on(matrix_of):
    pipe = reference_pipeline()
    own = pipe.latent_shape

    def untidy(*given):
        pipe.clips = [*getattr(pipe, "clips", []), 1]
        return own(*given)

    pipe.latent_shape = untidy
    matrix = matrix_of(Halve, pipe=pipe)
    assert [(row.mix, row.status) for row in matrix.rows] == [((), "failed"), (("halve",), "failed")]
    assert all("'clips' was replaced in pipe" in row.reason for row in matrix.rows)


def test_a_matrix_is_kept(matrix_of, tmp_path):
    matrix = matrix_of(Halve, NotSoExact)
    saved = json.loads(matrix.save(tmp_path / "matrix.json").read_text())
    assert saved["failed"] == 1 and [row["status"] for row in saved["rows"]] == ["ok", "ok", "ok", "failed"]
    table = matrix.table().splitlines()
    assert len(table) == 6 and table[-1].startswith("| halve, not_so_exact | failed: not_so_exact is exact")
    assert "FAILED halve, not_so_exact" in repr(matrix) and "not_so_exact" in matrix._repr_html_()


def test_too_many_are_refused():
    with pytest.raises(lab.InputError, match="name at most"):
        compatibility(names=[f"e{i}" for i in range(LARGEST + 1)])
    assert len(subsets("abc")) == 8
