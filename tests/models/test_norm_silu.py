"""The fused operation is diffusers' norm and SiLU, in both number formats, and keeps half of what they would."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_wan import WanRMS_norm
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from traced_memory import Traced

from rewardfl_app.models import norm_silu as norm_silu_module
from rewardfl_app.models.norm_silu import norm_silu


@pytest.fixture
def norm() -> WanRMS_norm:
    torch.manual_seed(0)
    made = WanRMS_norm(24, images=False).requires_grad_(False)
    made.gamma.copy_(torch.rand_like(made.gamma) + 0.5)
    return made


def gradient(output: Tensor, x: Tensor) -> Tensor:
    weights = torch.linspace(-1, 1, output.numel()).view_as(output).to(output.dtype)
    return torch.autograd.grad(output, x, weights)[0]


def test_float32_equals_the_two_operations(norm: WanRMS_norm) -> None:
    x = torch.randn(2, 24, 3, 5, 7, requires_grad=True)
    fused, plain = norm_silu(norm, x), F.silu(norm(x))
    torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient(fused, x), gradient(plain, x), rtol=1e-4, atol=1e-6)


def test_bfloat16_is_nearer_to_the_truth_than_the_two_operations(norm: WanRMS_norm) -> None:
    x = torch.randn(2, 24, 3, 5, 7).bfloat16().requires_grad_(True)
    exact = x.detach().float().requires_grad_(True)
    truth = F.silu(norm(exact))
    fused, plain = norm_silu(norm.bfloat16(), x), F.silu(norm(x))
    assert fused.dtype == torch.bfloat16
    assert (fused - truth).abs().mean() < (plain - truth).abs().mean()
    torch.testing.assert_close(fused.float(), truth, rtol=2**-7, atol=2**-7)
    wanted = gradient(truth, exact)
    got, theirs = gradient(fused, x).float(), gradient(plain, x).float()
    assert (got - wanted).norm() < 1.5 * (theirs - wanted).norm()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_few_frames_at_a_time_are_the_same_and_take_less(
    norm: WanRMS_norm, dtype: torch.dtype, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = torch.randn(1, 24, 7, 32, 32).to(dtype).contiguous(memory_format=layout).requires_grad_(True)
    norm = norm.to(dtype)

    def found() -> tuple[Tensor, Tensor, float]:
        with Traced() as traced:
            before = traced.start()
            y = norm_silu(norm, made)
            pulled = gradient(y, made)
        return y, pulled, (traced.peak - before) / made.nbytes

    whole, pulled, most = found()
    for frames in (1, 2, 3):
        monkeypatch.setitem(norm_silu_module._AT_ONCE, "cpu", frames * 24 * 32 * 32)
        parts, pulled_parts, taken = found()
        assert torch.equal(parts, whole) and torch.equal(pulled_parts, pulled)
        assert parts.stride() == whole.stride()
        assert frames > 1 or taken < 0.9 * most


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_only_the_input_is_kept(norm: WanRMS_norm, dtype: torch.dtype) -> None:
    x = torch.randn(1, 24, 3, 8, 8).to(dtype).requires_grad_(True)
    kept: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.nbytes if tensor.numel() == x.numel() else 0)
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        norm_silu(norm.to(dtype), x)
    assert sum(kept) == x.nbytes
