"""The forecast without weights against the CPU's allocator: networks in two types, kernels of many shapes, operations."""

import logging
import random
import time

import diffusers
import pytest
import torch
import transformers
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn import functional as F

from i2v_lab.core.errors import InputError
from i2v_lab.forecasting.fake import Account, fake_weights, kept_parts
from i2v_lab.probes.memory import cpu_memory
from i2v_lab.study.metrics import count_flops

logging.disable(logging.WARNING)

XL = dict(
    block_out_channels=(64, 128),
    cross_attention_dim=64,
    attention_head_dim=32,
    layers_per_block=1,
    down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
    up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
)
SVD = dict(
    block_out_channels=(64, 128),
    cross_attention_dim=64,
    num_attention_heads=(2, 4),
    layers_per_block=1,
    down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
    up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
    projection_class_embeddings_input_dim=96,
    addition_time_embed_dim=32,
)
KL = dict(block_out_channels=(32, 64), down_block_types=("DownEncoderBlock2D",) * 2, layers_per_block=1)
BOTH = KL | dict(up_block_types=("UpDecoderBlock2D",) * 2)
WAN_VAE = dict(base_dim=16, z_dim=8, dim_mult=[1, 2, 2, 2], num_res_blocks=1, temperal_downsample=[False, True, True])
DIT = dict(in_channels=16, out_channels=16, num_attention_heads=4, attention_head_dim=32, num_layers=2)
LTX_VAE = dict(
    latent_channels=16,
    layers_per_block=(1,) * 5,
    decoder_layers_per_block=(1,) * 5,
    block_out_channels=(32, 64, 64, 64),
    decoder_block_out_channels=(32, 64, 64, 64),
)
CLIP = dict(hidden_size=256, intermediate_size=1024, num_hidden_layers=2, num_attention_heads=4)
T5 = dict(vocab_size=999, d_model=256, d_kv=32, d_ff=512, num_layers=2, num_heads=4, is_encoder_decoder=False)


def words(batch, length, padded):
    ids = dict(input_ids=torch.ones(batch, length, dtype=torch.long))
    return ids | ({"attention_mask": (torch.arange(length) < 40).long().repeat(batch, 1)} if padded else {})


def of(name, config, **kw):
    """How to make a network of transformers."""
    return lambda: getattr(transformers, name)(getattr(transformers, config)(**kw))


NETWORKS = {  # how to make it, how to call it with `e`: a tensor of the type that is tested
    "i2vgen": (
        lambda: diffusers.I2VGenXLUNet(**XL),
        lambda m, e: m(e(2, 4, 2, 16, 16), 3, torch.tensor([8, 8]), e(2, 4, 2, 16, 16), e(2, 64), e(2, 7, 64)),
    ),
    "svd": (
        lambda: diffusers.UNetSpatioTemporalConditionModel(**SVD),
        lambda m, e: m(e(2, 2, 8, 16, 16), 3, e(2, 1, 64), e(2, 3)),
    ),
    "kl encode": (lambda: diffusers.AutoencoderKL(**BOTH), lambda m, e: m.encode(e(2, 3, 96, 96))),
    "kl decode": (lambda: diffusers.AutoencoderKL(**BOTH), lambda m, e: m.decode(e(2, 4, 48, 48))),
    "kl slices": (
        lambda: diffusers.AutoencoderKL(**BOTH),
        lambda m, e: (m.enable_slicing(), m.decode(e(2, 4, 48, 48))),
    ),
    "svd decode": (
        lambda: diffusers.AutoencoderKLTemporalDecoder(**KL),
        lambda m, e: m.decode(e(3, 4, 32, 32), num_frames=3),
    ),
    "wan encode": (lambda: diffusers.AutoencoderKLWan(**WAN_VAE), lambda m, e: m.encode(e(1, 3, 5, 64, 64))),
    "wan decode": (lambda: diffusers.AutoencoderKLWan(**WAN_VAE), lambda m, e: m.decode(e(1, 8, 2, 8, 8))),
    "wan": (
        lambda: diffusers.WanTransformer3DModel(
            **DIT, text_dim=64, freq_dim=64, ffn_dim=512, image_dim=64, added_kv_proj_dim=128
        ),
        lambda m, e: m(e(1, 16, 3, 48, 48), torch.tensor([3]), e(1, 16, 64), e(1, 257, 64)),
    ),
    "ltx encode": (lambda: diffusers.AutoencoderKLLTXVideo(**LTX_VAE), lambda m, e: m.encode(e(1, 3, 9, 96, 96))),
    "ltx decode": (lambda: diffusers.AutoencoderKLLTXVideo(**LTX_VAE), lambda m, e: m.decode(e(1, 16, 2, 4, 4))),
    "ltx": (
        lambda: diffusers.LTXVideoTransformer3DModel(**DIT, cross_attention_dim=128, caption_channels=64),
        lambda m, e: m(e(2, 768, 16), e(2, 9, 64), torch.tensor([3, 3]), torch.ones(2, 9, dtype=torch.long), 3, 16, 16),
    ),
    "clip image": (
        of("CLIPVisionModelWithProjection", "CLIPVisionConfig", **CLIP, patch_size=14),
        lambda m, e: m(e(4, 3, 224, 224)),
    ),
    "clip image, larger": (
        of("CLIPVisionModelWithProjection", "CLIPVisionConfig", **CLIP, patch_size=14),
        lambda m, e: m(e(4, 3, 280, 280), interpolate_pos_encoding=True),
    ),
    "clip text": (of("CLIPTextModel", "CLIPTextConfig", **CLIP), lambda m, e: m(**words(16, 77, False))),
    "clip text, padded": (of("CLIPTextModel", "CLIPTextConfig", **CLIP), lambda m, e: m(**words(16, 77, True))),
    "t5, padded": (of("T5EncoderModel", "T5Config", **T5), lambda m, e: m(**words(2, 256, True))),
    "umt5": (of("UMT5EncoderModel", "UMT5Config", **T5), lambda m, e: m(**words(2, 256, False))),
    "umt5, padded": (of("UMT5EncoderModel", "UMT5Config", **T5), lambda m, e: m(**words(2, 256, True))),
}


def real(make, dtype):
    """A network as `from_pretrained` would load it."""
    network = make().eval()
    kept = kept_parts(network, dtype)
    for name, t in (*network.named_parameters(), *network.named_buffers()):
        if t.is_floating_point() and kept.isdisjoint(name.split(".")):
            t.data = t.data.to(dtype)
    return network


def fake(make, dtype):
    """Its twin, and the mode to call it in."""
    with torch.device("meta"):
        network = make().eval()
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    return fake_weights(network, dtype, mode), mode


SHORT = "kl decode", "svd decode", "wan decode", "wan", "ltx decode", "clip text, padded", "umt5, padded"
CASES = [(name, torch.float32) for name in NETWORKS] + [(name, torch.bfloat16) for name in SHORT]


@pytest.mark.parametrize(("name", "dtype"), CASES, ids=str)
def test_forecast_is_what_the_allocator_measures(name, dtype):
    make, call = NETWORKS[name]
    inputs = lambda *shape: torch.ones(shape, dtype=dtype)
    network, (twin, mode) = real(make, dtype), fake(make, dtype)
    with torch.inference_mode(), cpu_memory() as used:
        kept = call(network, inputs)
    with mode, torch.inference_mode(), Account() as forecast:
        kept = call(twin, inputs)
    assert 2**21 < used.peak_bytes, "too small to say anything"
    assert 0.9 < forecast.peak_bytes / used.peak_bytes < 1.1
    assert abs(forecast.kept_bytes - used.kept_bytes) < 0.05 * used.peak_bytes
    assert kept is not None


@pytest.mark.parametrize("name", ["kl decode", "wan", "ltx decode", "umt5, padded"])
def test_operations_are_those_of_the_study(name):
    make, call = NETWORKS[name]
    network, (twin, mode) = real(make, torch.float32), fake(make, None)
    with torch.inference_mode():
        counted = count_flops(lambda: call(network, torch.ones))
    with mode, torch.no_grad(), Account() as forecast, Account("cuda") as tensors:
        call(twin, torch.empty)
    assert forecast.flops == tensors.flops == counted > 0
    assert tensors.peak_bytes <= forecast.peak_bytes


def convolutions(count):
    """Convolutions of many shapes, types and layouts."""
    choose = random.Random(0).choice
    for _ in range(count):
        dtype, dims = choose([torch.float32, torch.bfloat16, torch.float16]), choose([2, 3])
        given, made = choose([(3, 32), (4, 64), (64, 64), (64, 4), (20, 36), (96, 96), (12, 40)])
        window, side, batch = choose([1, 3]), choose([16, 32]), choose([1, 2, 16])
        x = torch.ones(batch, given, *(4, side // 2, side // 2)[3 - dims if dims == 3 else 1 :], dtype=dtype)
        x = x.transpose(-1, -2) if choose([True, False, False]) else x
        yield x, torch.ones(made, given, *(window,) * dims, dtype=dtype), window // 2


def test_convolutions_of_many_shapes():
    wrong = []
    for x, weight, padding in convolutions(30):
        work = lambda: getattr(F, f"conv{x.ndim - 2}d")(x, weight, padding=padding)  # noqa: B023
        with torch.inference_mode(), cpu_memory() as used:
            work()
        with torch.inference_mode(), Account() as account:
            work()
        if not 0.9 < account.peak_bytes / used.peak_bytes < 1.1:
            wrong.append((x.shape, x.stride(), weight.shape, x.dtype, account.peak_bytes, used.peak_bytes))
    assert not wrong


def test_bias_of_a_linear_layer_is_added_in_place():
    x, weight, bias = torch.ones(64, 32, 128).transpose(0, 1), torch.ones(256, 128), torch.ones(256)
    with torch.inference_mode(), cpu_memory() as used:
        F.linear(x, weight, bias)
    with torch.inference_mode(), Account() as account:
        F.linear(x, weight, bias)
    assert account.peak_bytes == used.peak_bytes


def test_weights_stay_shared_and_parts_stay_long():
    make, _ = NETWORKS["umt5"]
    twin, _ = fake(make, torch.bfloat16)
    assert twin.shared.weight is twin.encoder.embed_tokens.weight
    assert {p.dtype for p in twin.parameters()} == {torch.bfloat16}
    wan, _ = fake(NETWORKS["wan"][0], torch.bfloat16)
    types = {name: p.dtype for name, p in wan.named_parameters()}
    assert types["blocks.0.scale_shift_table"] == torch.float32
    assert types["blocks.0.ffn.net.0.proj.weight"] == torch.bfloat16
    assert all(isinstance(p, FakeTensor) and p.device.type == "cpu" for p in wan.parameters())


def test_what_needs_values_says_so():
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    scheduler = diffusers.EulerDiscreteScheduler()
    scheduler.set_timesteps(4)
    with mode, torch.inference_mode(), Account():
        x = torch.empty(1, 4, 8, 8)
        for work in (lambda: x.sum().item(), lambda: bool(x.any()), lambda: x[x > 0], lambda: x.nonzero()):
            with pytest.raises(InputError, match="asks for values"):
                work()
        with pytest.raises(InputError, match="asks for values"):
            scheduler.step(x, scheduler.timesteps[0], x)
        assert torch.equal(x, torch.empty(1, 4, 8, 8)) and not torch.equal(x, torch.empty(1))


def test_full_size_is_quick():
    make = lambda: diffusers.I2VGenXLUNet()
    twin, mode = fake(make, torch.float16)
    e = lambda *shape: torch.empty(shape, dtype=torch.float16)
    start = time.perf_counter()
    with mode, torch.inference_mode(), Account("cuda") as account:
        twin(e(2, 4, 16, 64, 64), 3, torch.tensor([16, 16]), e(2, 4, 16, 64, 64), e(2, 1024), e(2, 77, 1024))
    assert time.perf_counter() - start < 15
    assert 2 * 2**30 < account.peak_bytes < 3 * 2**30 and 40e12 < account.flops < 45e12
