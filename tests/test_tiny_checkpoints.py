"""Tiny checkpoints of every family: the same files twice, safetensors only, and a denoiser that hears all it is told."""

import inspect
import random
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
import torch
import yaml
from diffusers import DiffusionPipeline
from PIL import Image
from torch import Tensor, nn

from i2v_lab.backends.tiny import FAMILIES_TINY, WORDS, clip_tokenizer, quiet, t5_tokenizer, tiny_checkpoint
from i2v_lab.core.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
FRAMES = {"i2vgen_xl": 2, "wan": 2, "wan22": 2, "wan22_5b": 2}  # which dimension of latents; 1: all others
DENOISERS = ("unet", "transformer", "transformer_2")

families = pytest.mark.parametrize("family", FAMILIES_TINY)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def load(checkpoints):
    """Pipelines by family; each is loaded once."""
    known = {}

    def load(family: str) -> DiffusionPipeline:
        if family not in known:
            with quiet():
                known[family] = DiffusionPipeline.from_pretrained(checkpoints / family, use_safetensors=True)
            known[family].set_progress_bar_config(disable=True)
        return known[family]

    return load


def run(pipe: DiffusionPipeline, seed: int = 0, **asked) -> Tensor:
    """Latents, or what else is asked for."""
    asked = dict(height=64, width=64, num_frames=9, num_inference_steps=3, output_type="latent") | asked
    asked.setdefault("image", Image.fromarray(PIXELS))
    if hasattr(pipe, "tokenizer"):
        asked = dict(prompt="the camera pans left", guidance_scale=5.0) | asked
    if "I2VGenXL" in type(pipe).__name__:
        asked["clip_skip"] = None
        torch.manual_seed(0)  # it encodes the picture with torch's own generator
    stand_in = SimpleNamespace(fix_text=str)  # Wan's pipeline wants ftfy, which is not needed here
    with patch("diffusers.pipelines.wan.pipeline_wan_i2v.ftfy", stand_in, create=True):
        frames = pipe(**asked, generator=torch.Generator().manual_seed(seed)).frames
    return torch.as_tensor(frames).float()


def apart(one: Tensor, other: Tensor) -> float:
    """How far two tensors are apart, as a share of the size of the first."""
    return ((one - other).std() / one.std()).item()


def last_calls(pipe: DiffusionPipeline) -> dict[str, tuple[nn.Module, dict]]:
    """The last call of each denoiser in a run: the network, and its arguments by name."""
    seen, hooks = {}, []
    for name in DENOISERS:
        network = getattr(pipe, name, None)
        if isinstance(network, nn.Module):
            signature = inspect.signature(network.forward)

            def note(network, given, named, name=name, signature=signature):
                seen[name] = network, signature.bind(*given, **named).arguments

            hooks.append(network.register_forward_pre_hook(note, with_kwargs=True))
    run(pipe)
    for hook in hooks:
        hook.remove()
    return seen


def another(value: Tensor) -> Tensor:
    """A tensor of the same kind that says something else."""
    if value.dtype == torch.bool:
        return ~value
    if not value.is_floating_point():
        return value // 2
    return 0.5 * value.roll(1)  # size and order: a norm at the entrance would not see size alone


def answer(network: nn.Module, arguments: dict) -> Tensor:
    """What a denoiser says."""
    with torch.no_grad():
        return network(**arguments)[0]


@families
def test_the_same_seed_gives_the_same_files_in_another_process(family, checkpoints, again):
    assert contents(checkpoints / family) == contents(again / family)


@pytest.fixture(scope="module")
def again(tmp_path_factory) -> Path:
    """The same checkpoints, checkpoints by another process."""
    home = tmp_path_factory.mktemp("again")
    code = "from i2v_lab.backends.tiny import *; import sys; [tiny_checkpoint(f, sys.argv[1] + '/' + f) for f in {}]"
    subprocess.run([sys.executable, "-c", code.format([*FAMILIES_TINY]), str(home)], check=True)
    return home


@families
def test_another_seed_gives_other_weights_and_nothing_else(family, checkpoints, tmp_path):
    one, two = contents(checkpoints / family), contents(tiny_checkpoint(family, tmp_path / "two", seed=1))
    differ = {name for name in one if one[name] != two[name]}
    assert one.keys() == two.keys()
    assert differ == {name for name in one if name.endswith(".safetensors")} | {"README.md"}


@families
def test_it_is_small_and_soon_made_and_leaves_the_random_numbers(family, tmp_path):
    before = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    start = time.perf_counter()
    folder = tiny_checkpoint(family, tmp_path / "new")
    assert time.perf_counter() - start < 3
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), str(np.random.get_state())) == before[1:]
    assert sum(map(len, contents(folder).values())) < 6e6
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


@families
def test_weights_are_safetensors_only(family, checkpoints):
    kinds = {Path(name).suffix for name in contents(checkpoints / family)}
    assert kinds == {".json", ".md", ".safetensors"}


@families
def test_the_card_reads_as_on_a_hub(family, checkpoints):
    head = (checkpoints / family / "README.md").read_text(encoding="utf-8").split("---\n")[1]
    told = yaml.safe_load(head)
    assert (told["license"], told["pipeline_tag"]) == ("apache-2.0", "image-to-video")
    assert "random-weights" in told["tags"]


@families
def test_no_weight_is_left_as_it_was(family, load):
    still = [
        f"{place}.{name}"
        for place, part in load(family).components.items()
        if isinstance(part, nn.Module)
        for name, weight in part.named_parameters()
        if weight.numel() > 1 and weight.float().std() < 1e-3
    ]
    assert still == []


@families
def test_the_loaded_pipeline_makes_a_clip(family, load):
    pipe = load(family)
    assert {part.dtype for part in pipe.components.values() if isinstance(part, nn.Module)} == {torch.float32}
    frames = run(pipe, output_type="np", num_inference_steps=2)
    assert frames.shape == (1, 9, 64, 64, 3)
    assert frames.isfinite().all()
    assert 0.1 < frames.std() < 0.4  # neither grey nor black and white


@families
def test_the_encoder_is_sure_of_what_it_sees(family, load):
    vae, picture = load(family).vae, torch.from_numpy(PIXELS).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        seen = vae.encode(picture if family in ("i2vgen_xl", "svd") else picture[:, :, None]).latent_dist
    assert seen.std.max() < 1e-3 < seen.mean.std()


@families
def test_latents_keep_their_size(family, load):
    latents = run(load(family), num_inference_steps=5)
    assert latents.isfinite().all()
    assert 0.5 < latents.std() < 4


@families
def test_a_clip_comes_from_all_that_is_asked(family, load):
    pipe = load(family)
    clip = run(pipe)
    assert torch.equal(run(pipe), clip)
    asked = {"image": Image.fromarray(255 - PIXELS[:, ::-1])}
    if hasattr(pipe, "tokenizer"):
        asked |= {"prompt": "a horse runs", "negative_prompt": "slow clouds", "guidance_scale": 2.0}
    if family == "svd":
        asked |= {"motion_bucket_id": 20, "fps": 20, "max_guidance_scale": 1.5}
    changes = {name: apart(clip, run(pipe, **{name: value})) for name, value in asked.items()}
    changes["seed"] = apart(clip, run(pipe, seed=1))
    assert min(changes.values()) > 0.05, changes


@families
def test_a_denoiser_hears_every_argument(family, load):
    denoisers = last_calls(load(family))
    assert len(denoisers) == 1 + (family == "wan22")
    for network, arguments in denoisers.values():
        said = answer(network, arguments)
        tensors = {name: value for name, value in arguments.items() if isinstance(value, Tensor)}
        changes = {n: apart(said, answer(network, arguments | {n: another(v)})) for n, v in tensors.items()}
        assert len(changes) >= 3
    assert min(changes.values()) > 0.01, changes


@families
def test_frames_hear_of_each_other(family, load):
    for network, arguments in last_calls(load(family)).values():
        name, latents = next(iter(arguments.items()))
        frames = FRAMES.get(family, 1)
        first, last = 0, latents.shape[frames] - 1
        changed = latents.index_fill(frames, torch.tensor([last]), 1.0)
        said, other = (answer(network, arguments | {name: x}).select(frames, first) for x in (latents, changed))
        assert apart(said, other) > 0.001


def test_text_comes_back():
    prompt = "two boats over there and 3 zebras"
    for tokenizer in (clip_tokenizer(), t5_tokenizer()):
        assert tokenizer.decode(tokenizer(prompt).input_ids, skip_special_tokens=True) == prompt
        assert all(len(tokenizer(word, add_special_tokens=False).input_ids) == 1 for word in WORDS.split())


@pytest.mark.parametrize("family", ["i2vgen_xl", "wan", "ltx", "cogvideox"])
def test_the_loaded_tokenizer_is_the_one_that_was_made(family, load):
    made = clip_tokenizer() if family == "i2vgen_xl" else t5_tokenizer()
    loaded = load(family).tokenizer
    assert loaded("a cat, on the left!").input_ids == made("a cat, on the left!").input_ids
    assert loaded.model_max_length == {"i2vgen_xl": 77, "wan": 512, "ltx": 128, "cogvideox": 226}[family]


def test_a_folder_is_there_as_a_whole_or_not_at_all(tmp_path):
    with patch.object(DiffusionPipeline, "save_pretrained", side_effect=OSError("no space left")):
        with pytest.raises(OSError, match="no space"):
            tiny_checkpoint("ltx", tmp_path / "ltx")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_taken_and_a_full_one_is_not(tmp_path):
    (tmp_path / "empty").mkdir()
    folder = tiny_checkpoint("ltx", tmp_path / "empty")
    before = contents(folder)
    with pytest.raises(InputError, match="has something in it already"):
        tiny_checkpoint("ltx", folder, seed=1)
    assert contents(folder) == before


@pytest.mark.parametrize("family", ["stable_video", "SVD", "", None, ["svd"]])
def test_an_unknown_family_is_said(family, tmp_path):
    with pytest.raises(InputError, match="unknown tiny family"):
        tiny_checkpoint(family, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
