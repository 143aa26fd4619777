"""The convolutions without what their graph would keep are diffusers' own, forwards and backwards."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from rewardfl_app.models import frozen_conv

Kernel = int | tuple[int, int, int]


def causal_conv(
    kernel: Kernel, padding: Kernel, dtype: torch.dtype = torch.float64, outputs: int = 7
) -> WanCausalConv3d:
    torch.manual_seed(0)
    return WanCausalConv3d(5, outputs, kernel, padding=padding).to(dtype).requires_grad_(False)


def clip(batch: int, frames: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(batch, 5, frames, 4, 6, dtype=dtype).requires_grad_(True)


def gradients(y: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view_as(y).to(y.dtype)
    return list(torch.autograd.grad(y, inputs, weights))


def kept(work: Callable[[], Tensor]) -> int:
    sizes = []

    def note(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        work()
    return sum(sizes)


@pytest.mark.parametrize("as_on_a_gpu", [False, True])
@pytest.mark.parametrize("has_past", [False, True])
@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("outputs", [3, 7])
@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), ((3, 1, 1), (1, 0, 0))])
def test_a_causal_convolution(
    kernel: Kernel,
    padding: Kernel,
    outputs: int,
    batch: int,
    frames: int,
    has_past: bool,
    as_on_a_gpu: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if as_on_a_gpu:
        monkeypatch.setattr(frozen_conv, "_BY_PICTURES", ())
    conv, x = causal_conv(kernel, padding, outputs=outputs), clip(batch, frames)
    past = clip(batch, 2) if has_past else None
    inputs = [x] if past is None else [x, past]
    wanted, found = conv(x, past), frozen_conv.causal(conv, x, past)
    torch.testing.assert_close(found, wanted)
    for mine, theirs in zip(gradients(found, inputs), gradients(wanted, inputs), strict=True):
        torch.testing.assert_close(mine, theirs)
    assert kept(lambda: frozen_conv.causal(conv, x, past)) == 0


@pytest.mark.parametrize("has_past", [False, True])
def test_a_convolution_that_looks_at_one_frame_needs_no_past(has_past: bool) -> None:
    conv, x = causal_conv(1, 0), clip(2, 3)
    found = frozen_conv.causal(conv, x, clip(2, 2) if has_past else None)
    torch.testing.assert_close(found, conv(x))
    torch.testing.assert_close(gradients(found, [x]), gradients(conv(x), [x]))


def test_pairs_of_frames_take_four_convolutions_and_are_as_exact_as_six(monkeypatch: pytest.MonkeyPatch) -> None:
    """17 frames: three alone (1 + 2 + 3), 7 pairs of 4."""
    conv, x = causal_conv(3, 1, torch.float32), clip(1, 17)
    wanted = frozen_conv.causal(conv.double(), x)
    conv, x = conv.float(), x.detach().float().requires_grad_(True)
    count, convolve = 0, torch.nn.functional.conv2d

    def counted(pictures: Tensor, *rest: object, **named: object) -> Tensor:
        nonlocal count
        count += len(pictures)
        return convolve(pictures, *rest, **named)

    monkeypatch.setattr(torch.nn.functional, "conv2d", counted)
    paired = frozen_conv.causal(conv, x)
    assert count == 34
    monkeypatch.setattr(frozen_conv, "_num_pairs", lambda *_: 0)
    single = frozen_conv.causal(conv, x)
    assert count == 34 + 48
    errors = [float((found.double() - wanted).norm() / wanted.norm()) for found in (paired, single)]
    assert 0 < errors[0] <= 2 * errors[1]


def test_half_precision_is_rounded_once() -> None:
    conv, x = causal_conv(3, 1, torch.bfloat16), clip(1, 4, torch.bfloat16)
    exact = frozen_conv.causal(causal_conv(3, 1), x.double())
    found = frozen_conv.causal(conv, x)
    assert found.dtype == torch.bfloat16
    error = (found.double() - exact).norm()
    assert error <= 1.05 * (conv(x).double() - exact).norm()


def test_what_trains_or_jumps_is_left_as_it_is() -> None:
    x = clip(1, 5)
    trained = causal_conv(3, 1).requires_grad_(True)
    frozen_conv.causal(trained, x).sum().backward()
    assert trained.weight.grad is not None
    jumping = WanCausalConv3d(5, 5, (3, 1, 1), stride=(2, 1, 1)).double().requires_grad_(False)
    torch.testing.assert_close(frozen_conv.causal(jumping, x), jumping(x))
    picture = nn.Conv2d(5, 7, 3).double()
    frozen_conv.pictures(picture, x[0].transpose(0, 1)).sum().backward()
    assert picture.weight.grad is not None


@pytest.mark.parametrize("stride", [1, 2])
def test_pictures(stride: int) -> None:
    conv = nn.Conv2d(5, 7, 3, stride=stride, padding=1).double().requires_grad_(False)
    x = torch.randn(3, 5, 6, 9, dtype=torch.float64, requires_grad=True)
    found = frozen_conv.pictures(conv, x)
    torch.testing.assert_close(found, conv(x))
    torch.testing.assert_close(gradients(found, [x]), gradients(conv(x), [x]))
    assert stride > 1 or kept(lambda: frozen_conv.pictures(conv, x)) == 0
