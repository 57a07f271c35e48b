"""`action_prior` with a CLIP model: what may be wrong with one, and what it does on models without an action head."""

import gc
import json
import shutil
import string
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
    SiglipConfig,
    SiglipModel,
)

from i2v_lab.core.actions import Action
from i2v_lab.core.errors import InputError
from i2v_lab.extensions.action_prior import (
    WORDINGS,
    ActionPrior,
    best_temperature,
    calibrated,
    calibration_error,
    load_clip,
    zero_shot,
)
from i2v_lab.extensions.bench import CHECKS
from i2v_lab.extensions.conformance import check_extension
from i2v_lab.extensions.reference import TinyPipeline, reference_pipeline, sample_picture

FAMILIES = ("i2vgen_xl", "svd", "wan", "ltx")
SHORT = dict(num_inference_steps=2, num_frames=9, seed=3)
SIZES = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)


class Headless(TinyPipeline):
    """The tiny pipeline without `suggest`; as those behind diffusers, it reads no actions from words."""

    name = "headless"

    @property
    def suggest(self):
        raise AttributeError("suggest")

    def encode_prompt(self, prompt):
        return replace(super().encode_prompt(prompt), action_logits=None)

    def condition(self, image_tokens, text_tokens):
        return super().condition(image_tokens, replace(text_tokens, action_logits=torch.zeros(1, len(Action))))


def headless() -> Headless:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Headless()


def tiny_tokenizer() -> CLIPTokenizer:
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(a + "</w>" for a in letters), *(a + b for a in string.ascii_lowercase for b in "aeiourst")]
    vocab = {token: i for i, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab, [tuple(token) for token in tokens if len(token) == 2], model_max_length=77)


def tiny_clip(folder: Path, seed: int = 0) -> Path:
    """Write a CLIP with random weights and the logit scale of the real ones."""
    tokenizer = tiny_tokenizer()
    special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text, vision = SIZES | special | dict(vocab_size=len(tokenizer)), SIZES | dict(image_size=32, patch_size=8)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(0, weight[0].numel() ** -0.5)
        model.logit_scale.fill_(np.log(100))
    model.save_pretrained(folder, safe_serialization=True)
    square = dict(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(CLIPImageProcessor(**square), tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("models") / "clip")


def frames(pipe, mix, prompt="make it move", **asked):
    made = pipe.generate(sample_picture(), prompt, mix=mix, **SHORT | asked)
    return made.frames, made.settings


# On pipelines


def test_without_a_head_and_without_a_clip_it_says_what_to_do():
    pipe = headless()
    with pytest.raises(InputError, match="'headless' has no trained action head.*name a CLIP model.*clip='openai/clip"):
        pipe.use(["action_prior"])
    assert not pipe.extensions


def expect_a_prior(pipe, clip: Path, deaf_to=()) -> None:
    """It decides at 0, abstains at 1, and the user stays the one who decides; some models do not hear every action."""
    plain, _ = frames(pipe, [])
    decided, said = frames(pipe, [ActionPrior(clip=str(clip), threshold=0.0)])
    assert said["decided_by"] == "prior" and said["action"] in Action.names()
    assert said["extensions"]["action_prior"]["suggested_by"] == f"the CLIP model {str(clip)!r}"
    assert np.array_equal(decided, plain) == (said["action"] in deaf_to)
    named, _ = frames(pipe, [], action=said["action"])
    assert np.array_equal(decided, named), "what the prior names is what the user would name"
    abstained, said_then = frames(pipe, [ActionPrior(clip=str(clip), threshold=1.0)])
    assert (said_then["decided_by"], said_then["action"]) == ("prompt", None)
    assert np.array_equal(abstained, plain)
    asked = frames(pipe, [ActionPrior(clip=str(clip), threshold=0.0)], action="run")[1]
    assert (asked["decided_by"], asked["action"]) == ("user", "run")
    assert not pipe.extensions and np.array_equal(frames(pipe, [])[0], plain)


def test_on_the_tiny_pipeline(clip):
    expect_a_prior(headless(), clip)


@pytest.mark.parametrize("family", FAMILIES)
def test_on_a_family_behind_diffusers(family, clip, tmp_path):
    from i2v_lab.backends import tiny
    from i2v_lab.backends.loading import load_diffusers
    from i2v_lab.backends.svd import MOTION

    folder = tiny.tiny_checkpoint(family, tmp_path / family)
    pipe = load_diffusers(str(folder), device="cpu", dtype="fp32", size=(64, 64))
    moves_alike = [a for a in Action if a not in MOTION] if family == "svd" else []  # it hears how much moves, no more
    expect_a_prior(pipe, clip, deaf_to=moves_alike)


def test_a_clip_takes_the_place_of_a_head(clip):
    pipe = reference_pipeline()
    own, other = (
        frames(pipe, [mix])[1]["extensions"]["action_prior"] for mix in (ActionPrior(), ActionPrior(clip=str(clip)))
    )
    assert own["suggested_by"] == "the action head"
    assert other["suggested_by"] == f"the CLIP model {str(clip)!r}, instead of the action head"
    assert own["probabilities"] != other["probabilities"]


def test_the_picture_decides_and_no_more_than_a_picture_can(clip):
    """Pans are equal to the bit, for any picture, temperature and model; another picture suggests something else."""
    reader, seen = zero_shot(str(clip)), set()
    for seed in range(20):
        picture = sample_picture(16 + 17 * seed, 200 - 9 * seed, seed)
        for temperature in (0.05, 1.0, 20.0):
            (p,) = reader.suggest(picture, temperature)
            assert p[6] == p[7] <= 0.5 and abs(float(p.sum()) - 1) < 1e-5
        seen.add(tuple(p.tolist()))
    assert len(seen) == 20


def test_a_clip_of_one_picture_knows_nothing_of_the_last(clip):
    pipe, mix = headless(), [ActionPrior(clip=str(clip), threshold=0.0)]
    other = sample_picture(80, 32, seed=4)
    fresh = pipe.generate(other, "x", mix=mix, **SHORT)
    pipe.use(mix)
    pipe.generate(sample_picture(), "x", **SHORT)
    (on,) = pipe.extensions
    on.begin()
    assert on._image is None and on.report() == {}
    again = pipe.generate(other, "x", **SHORT)
    assert np.array_equal(again.frames, fresh.frames)
    assert again.settings["extensions"] == fresh.settings["extensions"]


def test_a_picture_that_does_not_come_by_decides_nothing(clip):
    pipe = headless()
    tokens, words = pipe.encode_image(sample_picture()), pipe.encode_prompt("x")
    pipe.use([ActionPrior(clip=str(clip), threshold=0.0)])
    pipe.condition(tokens, words)
    (on,) = pipe.extensions
    assert (on.report()["action"], on.report()["why"]) == (None, "the picture did not come by")


def test_off_lets_go_of_the_model(clip):
    """Also where somebody holds on to the extension."""
    pipe = headless().use([ActionPrior(clip=str(clip))])
    (held,) = pipe.extensions
    model = weakref.ref(held._reader.model)
    pipe.use([])
    gc.collect()
    assert model() is None and held.report() == {}


def test_a_temperature_makes_it_less_sure(clip):
    pipe, sure = headless(), []
    for temperature in (0.5, 1.0, 20.0):
        said = frames(pipe, [ActionPrior(clip=str(clip), temperature=temperature)])[1]
        sure.append(max(said["extensions"]["action_prior"]["probabilities"].values()))
    assert sure == sorted(sure, reverse=True) and sure[0] > sure[2] + 0.1


def test_it_keeps_the_contract_with_a_clip_too(clip):
    """The suite, but for two checks of switching: reading a model takes more than 50 ms, as its notebook says, and
    safetensors itself keeps a few bytes for every tensor that it reads. That the model goes is tested above."""

    where = str(clip)

    class Named(ActionPrior):
        """With a CLIP from the start."""

        class Options(ActionPrior.Options):
            clip: str = Field(where, description="a tiny one")

    left_out = {"toggles_quickly", "toggling_leaks_nothing"}
    groups = {"switching", "clips", "stages", "faults", "surroundings"}
    names = [name for name, check in CHECKS.items() if check.group in groups and name not in left_out]
    check_extension(Named, headless(), only=names).raise_if_failed()


# What may be wrong with a model


def no_safetensors(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def cut_short(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def without_a_tower(folder: Path) -> None:
    kept = {name: w for name, w in load_file(folder / "model.safetensors").items() if "text" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def of_another_shape(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors") | {"visual_projection.weight": torch.zeros(3, 3)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def without_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def without_processor(folder: Path) -> None:
    for path in [*folder.glob("tokenizer*"), *folder.glob("*processor*")]:
        path.unlink()


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def of_another_kind(folder: Path) -> None:
    tower = dict(SIZES, num_hidden_layers=1)
    vision = dict(tower, image_size=32, patch_size=8)
    SiglipModel(SiglipConfig(text_config=dict(tower, vocab_size=50000), vision_config=vision)).save_pretrained(folder)


def with_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= dict(model_type="mine", auto_map=dict(AutoConfig="mine.Config", AutoModel="mine.Model"))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (no_safetensors, "no file named model.safetensors"),
        (cut_short, "can be read here"),
        (without_a_tower, "lacks weights, 'text"),
        (of_another_shape, "can be read here"),
        (without_tokenizer, "no tokenizer"),
        (without_processor, "image processor"),
        (without_config, "can be read here"),
        (of_another_kind, "is a 'siglip'"),
        (with_code, "custom code"),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_a_model_that_will_not_do_is_one_sentence(damage, says, clip, tmp_path):
    folder = shutil.copytree(clip, tmp_path / "clip")
    damage(folder)
    pipe = headless()
    with pytest.raises(InputError, match=says) as error:
        pipe.use([ActionPrior(clip=str(folder))])
    assert str(error.value).startswith("clip: ") and "\n" not in str(error.value) and len(str(error.value)) < 600
    assert "; give a " in str(error.value) or "; get the whole model" in str(error.value)
    assert not (folder / "ran").exists() and not pipe.extensions


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nobody/has-this", "cached files.*hf download nobody/has-this"),
        ("no/such/folder/here", "there is no folder 'no/such/folder/here'"),
        (" ", "there is no folder ' '"),
    ],
)
def test_a_name_that_leads_nowhere(name, says):
    with pytest.raises(InputError, match=says):
        load_clip(name)


def test_reading_is_quiet_and_leaves_the_library_as_it_was(clip, capfd):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_clip(str(clip))
    with pytest.raises(InputError):
        load_clip("nobody/has-this")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")


# How sure


@pytest.mark.parametrize("known", [0.2, 1.0, 3.0, 10.0])
def test_a_known_temperature_comes_back(known):
    generator = torch.Generator().manual_seed(1)
    scores = 3 * known**0.5 * torch.randn(20_000, 8, generator=generator)
    truth = torch.multinomial((scores / known).softmax(-1), 1, generator=generator)[:, 0]
    assert abs(best_temperature(scores, truth) / known - 1) < 0.05
    steps = torch.logspace(-1, 1, 201, base=2) * known
    losses = [torch.nn.functional.cross_entropy(scores / t, truth) for t in steps]
    best = float(steps[torch.stack(losses).argmin()])
    assert abs(best_temperature(scores, truth) / best - 1) < 0.01, "it is where the likelihood is highest"


def test_the_calibration_error_is_what_it_says():
    """Nine in ten right, said with 0.6: 0.3 apart; two bins are weighed by how many are in them."""
    said = torch.full((10, 8), 0.4 / 7)
    said[:, 2] = 0.6
    truth = torch.tensor([2] * 9 + [0])
    assert abs(calibration_error(said, truth) - 0.3) < 1e-6
    sure = torch.zeros(10, 8)
    sure[:, 5] = 1.0
    both, truths = torch.cat([said, sure]), torch.cat([truth, torch.full((10,), 5)])
    assert abs(calibration_error(both, truths) - 0.15) < 1e-6


def test_calibrating_a_reader_on_pictures(clip):
    """Labels drawn as the tiny CLIP would have it at a temperature of 4: that is found, as well as 400 labels can tell."""
    reader, generator = zero_shot(str(clip)), torch.Generator().manual_seed(0)
    pictures = [sample_picture(40, 32, seed) for seed in range(400)]
    actions = [
        Action.names()[int(torch.multinomial(reader.suggest(p, 4.0)[0], 1, generator=generator))] for p in pictures
    ]
    found = calibrated(reader.suggest, pictures, actions)
    assert 3 < found.temperature < 5.3 and found.pictures == 400
    assert found.after < found.before


def test_every_picture_needs_an_action():
    for pictures, actions in (([], []), ([1, 2], ["walk"])):
        with pytest.raises(InputError, match="every picture needs an action"):
            calibrated(lambda p: torch.ones(1, 8) / 8, pictures, actions)
    with pytest.raises(InputError, match="unknown action 'fly'"):
        calibrated(lambda p: torch.ones(1, 8) / 8, [1], ["fly"])


def test_every_action_has_captions_of_its_own():
    assert set(WORDINGS) == set(Action) and all(len(captions) >= 3 for captions in WORDINGS.values())
    assert WORDINGS[Action.PAN_LEFT] is WORDINGS[Action.PAN_RIGHT]
    every = [caption for captions in dict.fromkeys(WORDINGS.values()) for caption in captions]
    assert len(set(every)) == len(every)
