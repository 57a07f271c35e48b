"""Attention and memory of models that are not ours: timm, transformers, diffusers; tiny ones with random weights."""

import threading
import warnings
from contextlib import contextmanager

import pytest
import timm
import torch
from torch import nn

from i2v_lab.pipeline.probe import Probe, Run, Watch, watch
from i2v_lab.probes.attention import AttentionProbe, attention_layers
from i2v_lab.probes.memory import MemoryProbe


@pytest.fixture(autouse=True)
def seeded():
    """Random weights and inputs are the same ones each time, and no gradient is taken."""
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def watched(model, *args, probes=(AttentionProbe,), **kwargs):
    """Run a model without and with probes; the result must be the same to the last bit, and nothing may be left."""
    model.eval()
    plain = first(model(*args, **kwargs))
    with watch(model, *probes) as trace:
        seen = first(model(*args, **kwargs))
    assert torch.equal(plain, seen) and not trace.problems
    hooks = [
        h for m in model.modules() for h in (m._forward_hooks, m._forward_pre_hooks, m._forward_hooks_always_called)
    ]
    assert not any(hooks) and torch._C._len_torch_function_stack() == 0
    return trace


def first(output):
    """The tensor in what a model gives."""
    return output if isinstance(output, torch.Tensor) else output[0]


def test_a_timm_vit_alone():
    """Rows are those of timm's own unfused attention."""
    vit = timm.create_model("vit_tiny_patch16_224", pretrained=False, depth=4).eval()
    picture = torch.randn(2, 3, 224, 224)
    reading = watched(vit, picture).attention
    assert reading.layers() == [f"blocks.{i}.attn" for i in range(4)] and not reading.unseen
    maps, hooks = [], []
    for block in vit.blocks:
        block.attn.fused_attn = False
        hooks.append(block.attn.attn_drop.register_forward_hook(lambda module, args, output: maps.append(output[-1])))
    vit(picture)
    for hook in hooks:
        hook.remove()
    some = [0, 1, 100, 196]
    for name, whole in zip(reading.layers(), maps, strict=True):
        assert (reading.rows(name, queries=some, head=2) - whole[2, some]).abs().max() < 1e-6
        assert (reading.columns(name, keys=some) - whole.mean(0)[:, some]).abs().max() < 1e-6
    product = torch.eye(197)
    for whole in maps:
        product = (product + whole.mean(0) @ product) / 2
    assert (reading.rollout(50) - product[50]).abs().max() < 1e-6
    assert reading.patches((3, 7)).shape == (14, 14)  # without the token that stands for no place
    assert set(watched(vit, picture).attention.unseen) == set(reading.layers())  # unfused: cannot be heard


def test_registers_are_not_patches():
    vit = timm.create_model("vit_small_patch16_dinov3", pretrained=False, img_size=96, depth=1).eval()
    reading = watched(vit, torch.randn(1, 3, 96, 96)).attention
    tokens = reading.rows(reading.layers()[0], queries=0).shape[1]
    assert tokens == 36 + vit.num_prefix_tokens and vit.num_prefix_tokens == 5
    assert reading.patches((0, 0)).shape == (6, 6)


def test_a_transformers_vit():
    """Maps as from `eager`, which is another way through the library."""
    from transformers import ViTConfig, ViTModel

    size = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=32)
    vit = ViTModel(ViTConfig(**size, patch_size=8, attn_implementation="sdpa")).eval()
    picture = torch.randn(1, 3, 32, 32)
    reading = watched(vit, pixel_values=picture).attention
    vit.set_attn_implementation("eager")
    maps = vit(pixel_values=picture, output_attentions=True).attentions
    assert len(reading.layers(kind="self")) == len(maps) == 2
    for name, whole in zip(reading.layers(), maps, strict=True):
        assert (reading.rows(name, queries=range(17), head=1) - whole[0, 1]).abs().max() < 1e-6


def test_a_clip_text_tower():
    """Causal: nobody reads what comes later."""
    from transformers import CLIPTextConfig, CLIPTextModel

    size = dict(vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
    tower = CLIPTextModel(CLIPTextConfig(**size, attn_implementation="sdpa")).eval()
    words = torch.randint(0, 50, (2, 9))
    mask = torch.tensor([[1] * 9, [1] * 6 + [0] * 3])
    reading = watched(tower, input_ids=words, attention_mask=mask).attention
    tower.set_attn_implementation("eager")
    maps = tower(input_ids=words, attention_mask=mask, output_attentions=True).attentions
    for name, whole in zip(reading.layers(), maps, strict=True):
        got = reading.rows(name, queries=range(9), head=3)
        assert got.triu(1).abs().max() == 0 and (got - whole[-1, 3]).abs().max() < 1e-6


def tiny_wan():
    """A Wan transformer with two blocks."""
    from diffusers import WanTransformer3DModel

    size = dict(num_attention_heads=2, attention_head_dim=12, text_dim=16, freq_dim=32, ffn_dim=32, num_layers=2)
    return WanTransformer3DModel(in_channels=4, out_channels=4, rope_max_seq_len=32, **size)


def wan_input(frames, words):
    return torch.randn(2, 4, frames, 8, 8), torch.tensor([500, 500]), torch.randn(2, words, 16)


def test_a_diffusers_transformer():
    """Self and cross; the element with the prompt is the last of the batch."""
    wan = tiny_wan()
    latents, t, words = wan_input(3, 6)
    reading = watched(wan, latents, t, words, return_dict=False).attention
    assert reading.layers(kind="self") == ["blocks.0.attn1", "blocks.1.attn1"]
    assert reading.layers(kind="cross") == ["blocks.0.attn2", "blocks.1.attn2"]
    assert reading.cross().shape == (3 * 4 * 4, 6)
    assert not reading.unseen and reading.layout is None
    alone = watched(wan, latents[1:], t[1:], words[1:], return_dict=False).attention
    assert (reading.rows("blocks.1.attn2", queries=[5]) - alone.rows("blocks.1.attn2", queries=[5])).abs().max() < 1e-6


def test_cross_attention_is_told_from_self_attention_where_the_numbers_agree():
    latents, t, words = wan_input(1, 16)
    reading = watched(tiny_wan(), latents, t, words, return_dict=False).attention
    assert reading.rows("blocks.0.attn1", queries=0).shape == reading.rows("blocks.0.attn2", queries=0).shape
    assert reading.layers(kind="cross") == ["blocks.0.attn2", "blocks.1.attn2"]


def test_an_image_to_video_unet():
    """Its layers have different numbers of tokens: they are asked one by one."""
    from diffusers import I2VGenXLUNet

    kinds = dict(down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"))
    kinds |= dict(up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"))
    size = dict(block_out_channels=(4, 8), norm_num_groups=2, layers_per_block=1, attention_head_dim=4)
    unet = I2VGenXLUNet(sample_size=16, cross_attention_dim=8, **kinds, **size)
    given = dict(timestep=10, fps=torch.tensor([8]), image_latents=torch.randn(1, 4, 2, 16, 16))
    given |= dict(image_embeddings=torch.randn(1, 8), encoder_hidden_states=torch.randn(1, 5, 8))
    reading = watched(unet, torch.randn(1, 4, 2, 16, 16), **given, return_dict=False).attention
    cross = reading.layers(kind="cross")
    assert cross and all(reading.rows(n, queries=0).sum() == pytest.approx(1, abs=1e-5) for n in reading.layers())
    assert any("temp" in name for name in reading.layers(kind="self"))


def test_grouped_queries():
    """Several heads with the keys of one."""

    class GroupedAttention(nn.Module):
        def forward(self, q, k, v):
            return nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)

    q, k = torch.randn(1, 4, 5, 8), torch.randn(1, 2, 7, 8)
    reading = watched(GroupedAttention(), q, k, torch.randn(1, 2, 7, 8)).attention
    for head in range(4):
        wanted = (q[0, head] @ k[0, head // 2].T / 8**0.5).softmax(-1)
        assert (reading.rows("GroupedAttention", queries=range(5), head=head) - wanted).abs().max() < 1e-6


def test_what_cannot_be_heard_is_left_alone():
    """`nn.MultiheadAttention` has a fast path that a mode would turn off, and with it the last bits."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    reading = watched(layer, torch.randn(2, 5, 16)).attention
    assert reading.unseen == ["self_attn"] and attention_layers(layer)[0] == {}


def test_memory_and_attention_together():
    """What the one keeps is what the other finds kept."""
    wan = tiny_wan()
    given = wan_input(3, 6)
    alone = watched(wan, *given, return_dict=False, probes=(MemoryProbe,)).memory.last
    both = watched(wan, *given, return_dict=False, probes=(MemoryProbe, AttentionProbe))
    assert sum(alone.weights.values()) == sum(t.nbytes for t in (*wan.parameters(), *wan.buffers()))
    more = both.memory.last.kept_bytes - alone.kept_bytes
    assert more == both.attention.last.kept_bytes > 0


def test_a_call_that_raises_is_left_at_once():
    """The next one is measured as if nothing had been."""
    layer = nn.Linear(4, 2)
    with watch(layer, MemoryProbe) as trace:
        with pytest.raises(RuntimeError, match="shapes"):
            layer(torch.ones(1, 3))
        assert not torch.autograd._profiler_enabled()
        layer(torch.ones(1, 4))
    assert trace.problems == {} and [e.step for e in trace.memory] == [2]


class Faulty(Probe):
    """Fails when a stage is left, or keeps a fault to itself."""

    name = "faulty"

    def __init__(self, swallows: bool):
        self.swallows = swallows

    @contextmanager
    def around(self, stage, step):
        try:
            yield
        except Exception:
            if not self.swallows:
                raise KeyError("another fault") from None
            return
        if not self.swallows:
            raise ValueError("a fault of its own")


@pytest.mark.parametrize("swallows", [True, False])
@pytest.mark.parametrize("filtered", ["ignore", "error"])
def test_the_fault_of_a_stage_is_the_one_that_is_heard(swallows, filtered):
    run, watcher = Run(None), Watch([Faulty(swallows)])
    with warnings.catch_warnings(action=filtered):
        watcher.begin(run)
        with pytest.raises(RuntimeError, match="of the stage"), watcher.around(run, "denoise", 1):
            raise RuntimeError("of the stage")
        assert watcher.trace.problems == ({} if swallows else {"faulty": "KeyError: 'another fault'"})
        watcher.begin(run)
        with watcher.around(run, "denoise", 1):
            pass
        assert watcher.trace.problems == ({} if swallows else {"faulty": "ValueError: a fault of its own"})


def test_calls_of_other_threads_are_not_watched():
    layer = nn.Linear(4, 2)
    with watch(layer, MemoryProbe) as trace:
        other = threading.Thread(target=layer, args=(torch.ones(1, 4),))
        other.start()
        other.join()
        layer(torch.ones(1, 4))
    assert trace.problems == {} and [e.step for e in trace.memory] == [1]
