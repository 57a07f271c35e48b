"""What only whole processes show of a training: two that share it, one that is killed and goes on."""

import os
import signal
import subprocess
import sys
import time

import pytest
from safetensors.torch import load_file

TOY = """
import sys
from pathlib import Path
import numpy as np, torch
from i2v_lab.model.shipped import MotionDiT
from i2v_lab.training.examples import Bank
from i2v_lab.training.train import (
    Batches, Prompts, Recipe, State, load_checkpoint, make_accelerator, save_checkpoint, train_motion
)

folder, processes, steps, slow = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])


class FakeText:
    dim = 12

    def __call__(self, texts):
        g = torch.Generator().manual_seed(0)
        return torch.randn(len(texts), 7, 12, generator=g), torch.arange(7).expand(len(texts), 7) < 5


recipe = Recipe(steps=steps, batch=4, processes=processes, checkpoint_seconds=0, bf16=False)
accelerator = make_accelerator(recipe)
torch.manual_seed(0)
model = MotionDiT(width=64, depth=2, vit="vit_tiny_patch16_224", image_size=256, layers=[3], text_dim=12)
masks = torch.zeros(8, 1, 64, 64).half()
masks[:4, :, 20:50, 20:40] = 1
bank = Bank(torch.randn(8, 256, 192).half(), masks, torch.tensor([[320, 480]] * 8), torch.zeros(8).long(),
            torch.ones(8).bool(), torch.zeros(8, 64, 64, 3).byte())
model.image.features.requires_grad_(False)
model.image.subject.requires_grad_(False)
model.reader.requires_grad_(False)
model.head.requires_grad_(False)
state, file = State.begin(model, recipe.lr), folder / "checkpoint.safetensors"
if file.exists():
    load_checkpoint(state, file)
    print("going on after", state.steps, flush=True)


def save(state):
    import time

    if accelerator.is_main_process:
        save_checkpoint(state, file)
    print("step", state.steps, flush=True)
    time.sleep(slow)


train_motion(state, Batches(bank, Prompts(FakeText(), 5)), recipe, accelerator, save=save)
save_checkpoint(state, folder / f"end-{accelerator.process_index}-of-{accelerator.num_processes}.safetensors")
"""


def start(folder, processes: int, steps: int, slow: float = 0.0, *, launched: bool = True, **how):
    """Start the toy training, by torch.distributed.run when it has several processes."""
    folder.mkdir(exist_ok=True)
    script = folder / "toy.py"
    script.write_text(TOY)
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    words = [sys.executable, *(launch if processes > 1 and launched else []), script, folder, processes, steps, slow]
    return subprocess.Popen(list(map(str, words)), text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, **how)


def weights(path):
    """The weights of a checkpoint, without the optimiser."""
    return {k: v for k, v in load_file(path).items() if k.startswith("model.")}


def test_two_processes_train_one_model(tmp_path):
    assert start(tmp_path / "two", 2, 3).wait(timeout=300) == 0
    ends = sorted(p.name for p in (tmp_path / "two").glob("end-*"))
    assert ends == ["end-0-of-2.safetensors", "end-1-of-2.safetensors"]  # the world size is two, not one twice
    one, other = (weights(tmp_path / "two" / end) for end in ends)
    assert one.keys() == other.keys() and all(one[k].equal(other[k]) for k in one)  # gradients were shared
    assert start(tmp_path / "one", 1, 3).wait(timeout=300) == 0
    alone = weights(tmp_path / "one" / "end-0-of-1.safetensors")
    assert any(not alone[k].equal(one[k]) for k in one)  # the second process brought clips of its own


def test_a_process_that_is_alone_says_so(tmp_path):
    """Two were asked for, one runs: no silent training at half the batch."""
    lonely = start(tmp_path, 2, 3, launched=False, stderr=subprocess.PIPE)
    _, said = lonely.communicate(timeout=300)
    assert lonely.returncode == 1
    assert "2 processes were asked for, 1 are running" in said


@pytest.mark.parametrize("at", [2])
def test_killed_and_gone_on_is_the_same_training(tmp_path, at):
    assert start(tmp_path / "whole", 1, 5).wait(timeout=300) == 0
    killed = start(tmp_path / "killed", 1, 5, slow=1.0, stdout=subprocess.PIPE)
    for line in killed.stdout:
        if line.strip() == f"step {at}":
            killed.send_signal(signal.SIGKILL)
            break
    assert killed.wait(timeout=60) == -signal.SIGKILL
    time.sleep(0.1)
    again = start(tmp_path / "killed", 1, 5, stdout=subprocess.PIPE)
    said, _ = again.communicate(timeout=300)
    assert again.returncode == 0 and f"going on after {at}" in said
    whole, mended = (load_file(tmp_path / n / "end-0-of-1.safetensors") for n in ("whole", "killed"))
    assert whole.keys() == mended.keys() and all(whole[k].equal(mended[k]) for k in whole)
