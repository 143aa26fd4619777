"""A convolution of repeated pixels, computed at the size of the pixels themselves, is the convolution of the large
picture."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import WanUpsample
from torch import Tensor, nn

from rewardfl_app.models import doubled_conv


def parts(dtype: torch.dtype = torch.float64, **options: Any) -> tuple[WanUpsample, nn.Conv2d, Tensor]:
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 4, **{"kernel_size": 3, "padding": 1, **options}).to(dtype).requires_grad_(False)
    resize = WanUpsample(scale_factor=(2.0, 2.0), mode="nearest-exact")
    return resize, conv, torch.randn(3, 6, 4, 5, dtype=dtype).requires_grad_(True)


@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_convolution_of_the_large_picture(bias: bool) -> None:
    resize, conv, x = parts(bias=bias)
    assert doubled_conv.fits(resize, conv, x)
    found, wanted = doubled_conv.convolve(x, conv.weight, conv.bias), conv(nn.Upsample(scale_factor=2)(x))
    torch.testing.assert_close(found, wanted)
    weights = torch.randn_like(wanted)
    torch.testing.assert_close(torch.autograd.grad(found, x, weights), torch.autograd.grad(wanted, x, weights))


def test_in_float32_it_is_as_exact() -> None:
    resize, conv, x = parts(torch.float32)
    exact = conv.double()(nn.Upsample(scale_factor=2)(x.double()))
    conv.float()
    own, direct = doubled_conv.convolve(x, conv.weight, conv.bias), conv(resize(x))
    errors = [float((found.double() - exact).norm() / exact.norm()) for found in (own, direct)]
    assert 0 < errors[0] <= 2 * errors[1]


@pytest.mark.parametrize(
    "options", [{"kernel_size": 1, "padding": 0}, {"stride": 2}, {"groups": 2}, {"dilation": 2, "padding": 2}]
)
def test_other_convolutions_are_left_alone(options: dict[str, Any]) -> None:
    assert not doubled_conv.fits(*parts(**options))


def test_other_sizes_types_and_weights_that_train_are_left_alone() -> None:
    resize, conv, x = parts()
    assert not doubled_conv.fits(nn.Upsample(scale_factor=(3.0, 3.0)), conv, x)
    assert not doubled_conv.fits(nn.Upsample(scale_factor=(2.0, 2.0), mode="bilinear"), conv, x)
    assert not doubled_conv.fits(resize, conv, x.bfloat16())
    assert not doubled_conv.fits(resize, conv.requires_grad_(True), x)
