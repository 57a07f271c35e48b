"""Every check of the conformance suite is seen to fail: one deliberately broken extension for each, and one that is not."""

import enum
import threading
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from pydantic import ConfigDict, Field

import i2v_lab as lab
from i2v_lab.core.clip import Clip
from i2v_lab.extensions.bench import CHECKS, Check, Report
from i2v_lab.extensions.conformance import check_extension
from i2v_lab.extensions.reference import reference_pipeline
from i2v_lab.pipeline.extension import Extension, ExtensionOptions
from i2v_lab.pipeline.networks import modules_of
from i2v_lab.pipeline.pipeline import Pipeline
from i2v_lab.pipeline.registry import extension_names, list_extensions
from i2v_lab.pipeline.stages import Conditioning

BROKEN: dict[str, list[type[Extension]]] = defaultdict(list)


def breaks(check: str):
    """Say which check a class is there to fail."""

    def add(cls: type[Extension]) -> type[Extension]:
        BROKEN[check].append(cls)
        return cls

    return add


class Good(Extension):
    """Push the prediction on, with everything that an extension can have."""

    name = "good"

    class Options(ExtensionOptions):
        strength: float = Field(0.5, ge=0, le=4, description="how hard to push")
        steps: int = Field(2, ge=1, le=9, description="steps before it begins")
        way: Literal["up", "down"] = Field("up", description="where to")
        hard: bool = Field(False, description="twice as hard")
        most: float | None = Field(None, gt=0, lt=9, description="never harder than this; none: no limit")
        words: list[str] = Field(default_factory=list, description="words that are left alone")

    def attach(self, pipe):
        self.calls, self.seen, self.last = 0, 0, None
        self.hook = pipe.model.decoder.register_forward_hook(self.count)
        pipe.model.decoder.good = self

    def detach(self, pipe):
        self.hook.remove()
        del pipe.model.decoder.good

    def count(self, *given):
        self.calls += 1

    def begin(self):
        self.calls, self.seen, self.last = 0, 0, None

    def condition(self, call_next, image_tokens, text_tokens):
        return replace(call_next(image_tokens, text_tokens))

    def denoise(self, call_next, latents, t, conditioning):
        out = call_next(latents, t, conditioning)
        self.seen += 1
        if self.seen < self.options.steps:
            return out
        self.last, last = out, out if self.last is None else self.last
        sign = (1 if self.options.way == "up" else -1) * (2 if self.options.hard else 1)
        return out + min(self.options.strength, self.options.most or 9) * sign * last

    def report(self):
        return {"calls": getattr(self, "calls", 0)}


class GoodExact(Extension):
    """Look at everything and change nothing."""

    name, exact, order = "good_exact", True, 5

    def attach(self, pipe):
        self.block = pipe.model.decoder.blocks[0]
        self.block.forward = self.block.forward

    def detach(self, pipe):
        del self.block.forward, self.block


class Idle(Extension):
    """Does nothing; broken ones are made of it."""

    name = "idle"


# Declarations


@breaks("name_is_snake_case")
class BadName(Idle):
    """Renamed behind the house's back."""


BadName.name = "Bad Name"


@breaks("is_described")
class Undescribed(Idle):
    pass


@breaks("is_described")
class Chatty(Idle):
    __doc__ = "words " * 40


@breaks("order_and_exact_are_plain")
class TextOrder(Idle):
    """Order as text."""

    order = "first"


@breaks("order_and_exact_are_plain")
class NearlyExact(Idle):
    """Exact as a number."""

    exact = 0.9


@breaks("requires_and_conflicts_are_names")
class ListOfConflicts(Idle):
    """A list can be changed."""

    conflicts = ["kv_cache"]


@breaks("requires_and_conflicts_are_names")
class TextRequires(Idle):
    """A text is no tuple."""

    requires = "kv_cache"


@breaks("requires_and_conflicts_are_names")
class AtWarWithItself(Idle):
    """In conflict with itself."""

    conflicts = ("idle",)


@breaks("requires_can_be_met")
class RequiresNobody(Idle):
    """Requires what is not there."""

    requires = ("nobody_has_written_this",)


@breaks("stages_take_what_is_passed")
class ShortSignature(Idle):
    """A stage without the conditioning."""

    def denoise(self, call_next, latents, t):
        return call_next(latents, t)


@breaks("no_method_is_misspelt")
class Misspelt(Idle):
    """With a z."""

    def denoize(self, call_next, latents, t, conditioning):
        return call_next(latents, t, conditioning)


@breaks("no_method_is_misspelt")
class Swapped(Idle):
    """Two letters changed places."""

    def decoed(self, call_next, latents, image):
        return call_next(latents, image)


@breaks("no_method_is_misspelt")
class Unused(Idle):
    """Nothing of it is ever called."""

    def halve(self, latents):
        return latents / 2


@breaks("pickles")
class Locked(Idle):
    """Holds a lock."""

    def __init__(self, **options):
        super().__init__(**options)
        self.lock = threading.Lock()


def local_class():
    @breaks("pickles")
    class Local(Idle):
        """Lives in a function."""


local_class()

# Construction


@breaks("constructs")
class NeedsAnArgument(Idle):
    """Cannot be made without one."""

    def __init__(self, *, size, **options):
        super().__init__(**options)


@breaks("constructs")
class ForgetsSuper(Idle):
    """Has no options."""

    def __init__(self, **options):
        pass


@breaks("construction_touches_nothing")
class Seeds(Idle):
    """Seeds the world when it is made."""

    def __init__(self, **options):
        super().__init__(**options)
        torch.manual_seed(0)


@breaks("construction_touches_nothing")
class Slow(Idle):
    """Loads something heavy when it is made."""

    def __init__(self, **options):
        super().__init__(**options)
        time.sleep(0.2)


@breaks("repr_is_one_line")
class Poem(Idle):
    """Many lines."""

    def __repr__(self):
        return "Poem\nof two lines"


# Options


@breaks("options_are_described")
class NoDescription(Idle):
    """What is n?"""

    class Options(ExtensionOptions):
        n: int = Field(1, ge=0, le=2)


@breaks("options_have_bounds")
class Boundless(Idle):
    """From nothing to infinity."""

    class Options(ExtensionOptions):
        n: float = Field(1.0, ge=0, description="anything")


@breaks("options_have_valid_defaults")
class NoDefault(Idle):
    """One has to say n."""

    class Options(ExtensionOptions):
        n: int = Field(ge=0, le=2, description="how many")


@breaks("options_have_valid_defaults")
class BadDefault(Idle):
    """Seven of at most two."""

    class Options(ExtensionOptions):
        n: int = Field(7, ge=0, le=2, description="how many")


class Colour(enum.Enum):
    RED = "red"


@breaks("options_round_trip")
class EnumOption(Idle):
    """Strict enums do not come back from JSON."""

    class Options(ExtensionOptions):
        colour: Colour = Field(Colour.RED, description="which colour")


@breaks("options_round_trip")
class PathOption(Idle):
    """Nor do paths."""

    class Options(ExtensionOptions):
        where: Path = Field(Path("x"), description="which file")


@breaks("options_refuse_unknown_names")
class Tolerant(Idle):
    """Ignores what it does not know."""

    class Options(ExtensionOptions):
        model_config = ConfigDict(extra="ignore")


@breaks("options_refuse_wrong_types")
class Lax(Idle):
    """Takes a text for a number."""

    class Options(ExtensionOptions):
        model_config = ConfigDict(strict=False)
        n: int = Field(1, ge=0, le=2, description="how many")


@breaks("options_refuse_wrong_types")
class Anything(Idle):
    """Takes whatever comes."""

    class Options(ExtensionOptions):
        n: Any = Field(1, description="how many")


@breaks("options_refuse_what_is_out_of_range")
class Clips(Idle):
    """Repairs instead of refusing."""

    class Options(ExtensionOptions):
        n: int = Field(1, ge=0, le=2, description="how many")

    @classmethod
    def check(cls, options):
        return super().check({k: min(max(v, 0), 2) if isinstance(v, int) else v for k, v in options.items()})


@breaks("options_are_frozen")
class Thawed(Idle):
    """Options that change."""

    class Options(ExtensionOptions):
        model_config = ConfigDict(frozen=False)
        n: int = Field(1, ge=0, le=2, description="how many")


@breaks("option_ends_work")
class DividesByZero(Idle):
    """Fails at the lower end."""

    class Options(ExtensionOptions):
        n: int = Field(1, ge=0, le=2, description="divided by")

    def denoise(self, call_next, latents, t, conditioning):
        return call_next(latents, t, conditioning) * (1 // self.options.n)


# Switching


@breaks("attaches")
class CannotAttach(Idle):
    """Looks for what is not there."""

    def attach(self, pipe):
        pipe.model.flux_capacitor.charge()


@breaks("leaves_the_pipeline_as_it_was")
class LeavesAnAttribute(Idle):
    """Forgets a note on the pipeline."""

    def attach(self, pipe):
        pipe.note = "was here"


@breaks("leaves_the_pipeline_as_it_was")
class LeavesAHook(Idle):
    """Forgets a hook."""

    def attach(self, pipe):
        pipe.model.decoder.blocks[1].attn1.to_v.register_forward_hook(lambda *given: None)


@breaks("leaves_the_pipeline_as_it_was")
class RoundsWeights(Idle):
    """Divides by what it multiplied with; that is not the same to the bit."""

    def attach(self, pipe):
        pipe.model.decoder.out.weight.data.mul_(3.3)

    def detach(self, pipe):
        pipe.model.decoder.out.weight.data.div_(3.3)


@breaks("leaves_the_pipeline_as_it_was")
class PatchesAClass(Idle):
    """Replaces a method for everybody."""

    def attach(self, pipe):
        cls = type(pipe.model.decoder)
        forward = cls.forward
        cls.forward = lambda self, *given: forward(self, *given)


@breaks("leaves_the_frames_as_they_were")
class Wears(Idle):
    """Wears the weights out with every clip."""

    def decode(self, call_next, latents, image):
        self.pipe.model.decoder.out.weight.data.mul_(1.01)
        return call_next(latents, image)

    def attach(self, pipe):
        self.pipe = pipe


@breaks("switching_on_twice_is_once")
class NeverTheSame(Idle):
    """Its default is another one every time."""

    class Options(ExtensionOptions):
        at: float = Field(default_factory=time.perf_counter, ge=0, le=1e12, description="when it was made")


@breaks("toggling_leaks_nothing")
class Collects(Idle):
    """Keeps everybody who was ever attached."""

    everybody: ClassVar[list] = []

    def attach(self, pipe):
        self.everybody.append(self)


@breaks("toggling_leaks_nothing")
class Hoards(Idle):
    """Keeps memory that no garbage collector sees."""

    memory: ClassVar[list] = []

    def attach(self, pipe):
        self.memory.append(np.zeros(1000))


@breaks("detaches_in_any_order")
class Sweeps(Idle):
    """Takes everybody's hooks off."""

    def detach(self, pipe):
        for module in modules_of(pipe).values():
            module._forward_hooks.clear()


@breaks("toggles_quickly")
class Sleepy(Idle):
    """Takes its time."""

    def attach(self, pipe):
        time.sleep(0.06)


@breaks("two_pipelines_are_apart")
class Counted(Idle):
    """Pushes as hard as there are others."""

    on: ClassVar[int] = 0

    def attach(self, pipe):
        Counted.on += 1

    def detach(self, pipe):
        Counted.on -= 1

    def denoise(self, call_next, latents, t, conditioning):
        return call_next(latents, t, conditioning) * Counted.on


# Clips


@breaks("makes_a_clip")
class DropsAFrame(Idle):
    """One frame less."""

    def decode(self, call_next, latents, image):
        clip = call_next(latents, image)
        return Clip(clip.frames[:-1], clip.fps, {})


@breaks("is_deterministic")
class Noisy(Idle):
    """Draws from the global random numbers."""

    def denoise(self, call_next, latents, t, conditioning):
        return call_next(latents, t, conditioning) + torch.rand(1)


@breaks("forgets_the_last_clip")
class Remembers(Idle):
    """Keeps the image tokens of the first picture."""

    def encode_image(self, call_next, image):
        self.tokens = getattr(self, "tokens", None) or call_next(image)
        return self.tokens


@breaks("begin_can_come_at_any_time")
class TakesTurns(Idle):
    """Every other beginning is another one."""

    turn = 0

    def begin(self):
        self.turn += 1

    def denoise(self, call_next, latents, t, conditioning):
        return call_next(latents, t, conditioning) * self.turn


@breaks("exact_is_exact")
class SaysExact(Idle):
    """Says exact, and is so only with guidance."""

    exact = True

    def denoise(self, call_next, latents, t, conditioning):
        return call_next(latents, t, conditioning) * (1.01 if conditioning.cfg_scale == 1 else 1)


@breaks("exact_is_exact")
class ExactByDefault(Idle):
    """Says exact, and is so only with its defaults."""

    exact = True

    class Options(ExtensionOptions):
        n: int = Field(1, ge=1, le=2, description="times")

    def denoise(self, call_next, latents, t, conditioning):
        return call_next(latents, t, conditioning) * self.options.n


@breaks("frame_0_is_the_picture")
class Negative(Idle):
    """The first frame in negative."""

    def decode(self, call_next, latents, image):
        clip = call_next(latents, image)
        return Clip(np.concatenate([255 - clip.frames[:1], clip.frames[1:]]), clip.fps, {})


def crop(clip, height, width):
    return Clip(clip.frames[:, :height, :width], clip.fps, {})


@breaks("takes_odd_sizes")
class EvenOnly(Idle):
    """Cuts odd sizes down to even ones."""

    def decode(self, call_next, latents, image):
        return crop(call_next(latents, image), image.shape[0] // 2 * 2, image.shape[1] // 2 * 2)


@breaks("takes_wide_and_tall")
class NotTooTall(Idle):
    """Cuts what is very tall."""

    def decode(self, call_next, latents, image):
        return crop(call_next(latents, image), 5 * image.shape[1], image.shape[1])


@breaks("takes_the_shortest_run")
class NeedsThree(Idle):
    """Looks at the third frame."""

    def denoise(self, call_next, latents, t, conditioning):
        return call_next(latents, t, conditioning) + latents[:, 2].mean() * 0


@breaks("takes_any_guidance")
class NeedsGuidance(Idle):
    """Divides by the guidance."""

    def denoise(self, call_next, latents, t, conditioning):
        return call_next(latents, t, conditioning) * (1 / (conditioning.cfg_scale - 1) > 0 or 1)


@breaks("the_user_decides")
class KnowsBetter(Idle):
    """Overrules the user."""

    def report(self):
        return {"action": "walk", "decided_by": "knows_better"}


@breaks("works_in_a_thread")
class OneThread(Idle):
    """Keeps its state where other threads do not see it."""

    def attach(self, pipe):
        self.local = threading.local()
        self.local.scale = 1

    def denoise(self, call_next, latents, t, conditioning):
        return call_next(latents, t, conditioning) * self.local.scale


# Stages


@breaks("leaves_inputs_alone")
class Scribbles(Idle):
    """Writes into the latents that it was given."""

    def denoise(self, call_next, latents, t, conditioning):
        latents *= 1.001
        return call_next(latents, t, conditioning)


@breaks("leaves_inputs_alone")
class Paints(Idle):
    """Writes into the picture."""

    def decode(self, call_next, latents, image):
        image[0] = 0
        return call_next(latents, image)


@breaks("leaves_inputs_alone")
class NotesInExtra(Idle):
    """Keeps its notes in the conditioning."""

    def denoise(self, call_next, latents, t, conditioning):
        conditioning.extra["notes"] = t
        return call_next(latents, t, conditioning)


@breaks("carries_extra_along")
class Rebuilds(Idle):
    """Makes a conditioning of what it knows."""

    def denoise(self, call_next, latents, t, conditioning):
        c = conditioning
        known = Conditioning(c.context, c.mask, c.uncond, c.cfg_scale, {"shared": c.extra["shared"]})
        return call_next(latents, t, known)


@breaks("carries_extra_along")
class LosesGuidance(Idle):
    """Loses the twin without the prompt."""

    def denoise(self, call_next, latents, t, conditioning):
        return call_next(latents, t, replace(conditioning, uncond=None))


@breaks("keeps_dtype_and_shape")
class Doubles(Idle):
    """Gives double precision."""

    def denoise(self, call_next, latents, t, conditioning):
        return call_next(latents.float(), t, conditioning).double()


@breaks("keeps_batches_apart")
class FirstOfAll(Idle):
    """Takes the first of a batch for all."""

    def denoise(self, call_next, latents, t, conditioning):
        out = call_next(latents, t, conditioning)
        return out[:1].expand_as(out)


@breaks("keeps_batches_apart")
class OneOnly(Idle):
    """Drops the rest of a batch."""

    def denoise(self, call_next, latents, t, conditioning):
        return call_next(latents, t, conditioning)[:1]


# Faults


@breaks("lets_errors_through")
class Swallows(Idle):
    """Goes on as if nothing had happened."""

    def denoise(self, call_next, latents, t, conditioning):
        try:
            return call_next(latents, t, conditioning)
        except Exception:
            return latents


@breaks("lets_errors_through")
class Rewords(Idle):
    """Says something else."""

    def condition(self, call_next, image_tokens, text_tokens):
        try:
            return call_next(image_tokens, text_tokens)
        except Exception:
            raise RuntimeError("something went wrong") from None


@breaks("survives_a_failing_stage")
class NoFinally(Idle):
    """Does not come back from a stage that fails."""

    depth = 0

    def denoise(self, call_next, latents, t, conditioning):
        self.depth += 1
        out = call_next(latents, t, conditioning) * self.depth
        self.depth -= 1
        return out


@breaks("survives_a_failing_listener")
class WaitsForCondition(Idle):
    """Expects a condition after every prompt."""

    waiting = 0

    def encode_prompt(self, call_next, prompt):
        self.waiting += 1
        return call_next(prompt)

    def condition(self, call_next, image_tokens, text_tokens):
        self.scale, self.waiting = self.waiting, 0
        return call_next(image_tokens, text_tokens)

    def denoise(self, call_next, latents, t, conditioning):
        return call_next(latents, t, conditioning) * self.scale


@breaks("survives_stop")
class TidiesAtTheEnd(Idle):
    """Forgets at the end of a clip, if there is one."""

    steps = 0

    def denoise(self, call_next, latents, t, conditioning):
        self.steps += 1
        return call_next(latents, t, conditioning) * self.steps

    def decode(self, call_next, latents, image):
        self.steps = 0
        return call_next(latents, image)


@breaks("survives_stop")
class StopsLate(Idle):
    """Hides Stop by finishing the clip first."""

    def begin(self):
        self.after = getattr(self, "after", 0) + getattr(self, "unfinished", 0)
        self.unfinished = 1

    def denoise(self, call_next, latents, t, conditioning):
        return call_next(latents, t, conditioning) * (1 + self.after)

    def decode(self, call_next, latents, image):
        self.unfinished = 0
        return call_next(latents, image)


# Surroundings


@breaks("leaves_random_numbers_alone")
class Draws(Idle):
    """Draws a number that nobody needs."""

    def denoise(self, call_next, latents, t, conditioning):
        np.random.rand()
        return call_next(latents, t, conditioning)


@breaks("leaves_settings_alone")
class SetsPrecision(Idle):
    """Sets how everybody multiplies."""

    def attach(self, pipe):
        self.was = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("medium")

    def detach(self, pipe):
        torch.set_float32_matmul_precision(self.was)


@breaks("is_quiet")
class Prints(Idle):
    """Says hello."""

    def attach(self, pipe):
        print("hello")


@breaks("report_is_json")
class NothingToSay(Idle):
    """Has nothing to report before a clip."""

    def begin(self):
        self.calls = 1

    def report(self):
        return {"calls": self.calls}


@breaks("report_is_json")
class SaysItOnce(Idle):
    """Forgets what it reports."""

    def begin(self):
        self.told = {"calls": 1}

    def report(self):
        told, self.told = getattr(self, "told", {}), {}
        return told


@breaks("rerun_gives_the_same_frames")
class Newborn(Idle):
    """Pushes harder the more of its kind were made; no setting says so."""

    born: ClassVar[int] = 0

    def attach(self, pipe):
        Newborn.born = Newborn.born % 5 + 1
        self.scale = Newborn.born

    def denoise(self, call_next, latents, t, conditioning):
        return call_next(latents, t, conditioning) * self.scale


@breaks("composes_with_the_others")
class WantsToBeAlone(Idle):
    """Does not attach where somebody else has."""

    def attach(self, pipe):
        if any(module._forward_hooks for module in modules_of(pipe).values()):
            raise RuntimeError("somebody is here already")


@breaks("composes_with_the_others")
class SaysExactAlone(Idle):
    """Says exact, and is not beside others."""

    exact = True

    def attach(self, pipe):
        self.pipe = pipe

    def denoise(self, call_next, latents, t, conditioning):
        return call_next(latents, t, conditioning) * len(self.pipe.extensions)


CASES = [pytest.param(check, cls, id=f"{check}-{cls.__name__}") for check, many in BROKEN.items() for cls in many]


def test_there_are_many_checks():
    assert len(CHECKS) >= 30
    assert set(BROKEN) == set(CHECKS), "every check has an extension that fails it"
    for wanted in CHECKS.values():
        assert wanted.run.__doc__ and wanted.run.__doc__.endswith(".")


def test_a_misspelt_stage_is_named():
    reasons = {
        cls: check_extension(cls, only="no_method_is_misspelt").failed[0].reason for cls in (Swapped, Unused, Idle)
    }
    assert "'decoed' is never called; did you mean 'decode'?" in reasons[Swapped]
    assert all("wraps no stage and has no attach" in reasons[cls] for cls in (Unused, Idle))


def test_an_extension_that_brings_others_along_does_something():
    both = type("Both", (Extension,), {"name": "both", "__doc__": "Two at once.", "requires": ("kv_cache",)})
    assert check_extension(both, only="no_method_is_misspelt").passed


@pytest.mark.parametrize("cls", [Good, GoodExact])
def test_good_extensions_pass(cls):
    report = check_extension(cls).raise_if_failed()
    assert [check.name for check in report.checks] == list(CHECKS)
    assert report.cost["off"] > 0 and report.cost["on"] > 0


@pytest.mark.parametrize(("check", "cls"), CASES)
def test_a_broken_extension_fails(check, cls):
    report = check_extension(cls, only=check)
    last = report.checks[-1]
    assert [c.name for c in report.failed] == [check], report
    assert last.reason and "crashed" not in last.reason and "\n" not in last.reason
    assert not report.passed
    with pytest.raises(AssertionError, match=check):
        report.raise_if_failed()


def test_one_failure_does_not_stop_or_spoil_the_others():
    """What a broken extension leaves behind is gone before the next check, and after the last."""
    pipe = reference_pipeline()
    picture = np.arange(64 * 48 * 3, dtype=np.uint8).reshape(48, 64, 3)
    before, keys = pipe.generate(picture, "x").frames, set(vars(pipe))
    for cls in (LeavesAnAttribute, LeavesAHook, RoundsWeights, PatchesAClass, Wears, Swallows, Prints):
        report = check_extension(cls, pipe)
        assert len(report.checks) == len(CHECKS)
        assert 1 <= len(report.failed) < 15, report
        assert set(vars(pipe)) == keys
        assert np.array_equal(pipe.generate(picture, "x").frames, before)


def test_a_report_reads_well():
    report = Report(
        "x", [Check("a", True), Check("b", False, "1 < 2 was expected", 0.1, group="g", wants="b.")], "tiny"
    )
    assert report.to_dict() == {
        "name": "x",
        "passed": False,
        "checks": [
            {"name": "a", "passed": True, "reason": ""},
            {"name": "b", "passed": False, "reason": "1 < 2 was expected"},
        ],
    }
    assert "FAILED b: 1 < 2 was expected" in repr(report)
    assert "1 &lt; 2" in report._repr_html_()


def test_a_listener_hears_every_check():
    heard = []
    report = check_extension(Idle, only=["options", "repr_is_one_line"], listener=heard.append)
    assert sorted(c.name for c in heard) == sorted(c.name for c in report.checks)


def test_what_others_are_compared_with_is_made_once(monkeypatch):
    made = []
    generate = Pipeline.generate
    monkeypatch.setattr(Pipeline, "generate", lambda *given, **asked: made.append(asked) or generate(*given, **asked))
    report = check_extension(Good, only=["begin_can_come_at_any_time", "works_in_a_thread"], cost=False)
    assert report.passed and report.cost is None
    assert len(made) == 5  # to warm up, the clip that is needed, the one to compare with, and one for each check


def test_what_was_on_is_on_again():
    pipe = reference_pipeline().use([GoodExact])
    assert check_extension(Idle, pipe, only="switching").passed
    assert pipe.mix.names == ["good_exact"]


working = [row.name for row in list_extensions() if row.status == "ok"]


@pytest.mark.parametrize("name", working)
def test_registered_extensions_pass(name):
    check_extension(name).raise_if_failed()


GROUPS = ("switching", "clips", "stages", "faults", "surroundings")  # the rest is about the class alone
WITH_WEIGHTS = ["leaves_the_pipeline_as_it_was", "leaves_the_frames_as_they_were", "exact_is_exact", "is_deterministic"]


@pytest.mark.parametrize("name", working)
def test_registered_extensions_pass_on_the_classes_of_the_shipped_model(name, small_pipe):
    check_extension(name, small_pipe, only=GROUPS).raise_if_failed()


@pytest.mark.parametrize("name", working)
def test_registered_extensions_keep_what_depends_on_weights(name, pipe):
    check_extension(name, pipe, only=WITH_WEIGHTS).raise_if_failed()


def test_a_name_is_enough():
    with pytest.raises(lab.InputError, match="unknown extension"):
        check_extension("nobody")
    assert "nobody" not in extension_names()
