"""What several tests need."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing here may be downloaded

ROOT = Path(__file__).resolve().parents[1]
DEVICE = os.environ.get("I2V_LAB_DEVICE", "cpu")  # `I2V_LAB_DEVICE=cuda pytest tests/test_backends.py`: on a GPU


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shipped_weights() -> Path:
    """The weights in the package; without them most of the house is empty."""
    from i2v_lab.model.shipped import WEIGHTS

    if not WEIGHTS.is_file() or not WEIGHTS.with_suffix(".json").is_file():
        pytest.fail(f"the shipped weights are missing: {WEIGHTS} and its .json belong to the repository")
    return WEIGHTS


@pytest.fixture(scope="session")
def pipe(shipped_weights):
    """The shipped model, loaded once."""
    import i2v_lab as lab

    return lab.load_pipeline("motiondit", device="cpu")


@pytest.fixture(scope="session")
def small_pipe(pipe):
    """The shipped model's own classes with few random weights: for what the classes decide, and many clips are made."""
    from copy import deepcopy

    import torch

    from i2v_lab.model.renderer import DraftRenderer
    from i2v_lab.model.shipped import MotionDiT, MotionPipeline

    with torch.random.fork_rng():
        torch.manual_seed(0)
        text = deepcopy(pipe.text)
        config = deepcopy(text.model.config)
        config.update(dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128))
        text.model, text.dim = type(text.model)(config).eval().requires_grad_(False), 64
        tiny = dict(
            width=64,
            depth=2,
            vit="vit_tiny_patch16_224",
            layers=[1],
            image_size=128,
            text_dim=64,
        )
        model = MotionDiT(**tiny).eval().requires_grad_(False)
        for p in model.decoder.parameters():  # what begins at zero would move nothing
            if not p.any():
                p.normal_(std=0.01)
    return MotionPipeline(model, text, renderer=DraftRenderer())


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> Path:
    """A folder with a tiny random checkpoint of every diffusers family."""
    from i2v_lab.backends.tiny import FAMILIES_TINY, tiny_checkpoint

    home = tmp_path_factory.mktemp("checkpoints")
    for family in FAMILIES_TINY:
        tiny_checkpoint(family, home / family)
    return home


@pytest.fixture(scope="session")
def photo(root) -> Path:
    """A held-out photo with texture everywhere."""
    return root / "data" / "photos" / "scikit-image__coffee.jpg"


@pytest.fixture(scope="session")
def crop(root):
    """Gives a held-out photo at any size, as an array."""

    def cut(width: int, height: int) -> np.ndarray:  # uint8 `[height,width,3]`
        with Image.open(root / "data" / "photos" / "gcompris-qt-data__explore_monuments_tajMahal.jpg") as image:
            scale = max(width / image.width, height / image.height)
            big = image.convert("RGB").resize((round(image.width * scale) + 1, round(image.height * scale) + 1))
            return np.asarray(big)[:height, :width].copy()

    return cut
