"""The bench of the decode: every way gives the pixels and the gradient of diffusers' own loop."""

from __future__ import annotations

from typing import Any

import pytest

from rewardfl_app.bench import case, decode
from rewardfl_app.bench.case import Measured
from rewardfl_app.bench.workload import Workload
from rewardfl_app.config.schema import Config


def test_every_way_is_exact(pocket: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int | None, str, int]] = []

    def measured(config: Config, what: str, implementation: str, latent_frames: int) -> Measured:
        assert what == "decode"
        asked.append((config.sampling.decode_chunk, implementation, latent_frames))
        return Measured(100.0, 150.0 if implementation == case.ENGINE else 200.0, None, 1.0)

    monkeypatch.setattr(case, "measure", measured)
    monkeypatch.setattr(decode, "FRAMES", (5, 9))
    monkeypatch.setattr(decode, "REPEATS", 1)
    monkeypatch.setattr(decode, "CHUNK", 1)
    report = decode.measure(pocket, lambda what, done, total: None)
    assert [row[2] for row in report.rows] == [
        f"{frames} frames, {how}" for frames in (5, 9) for how in ("1 latent frames at a time", "at once")
    ]
    for row in report.rows:
        speed, share, _, _, _, own, plain, pixels, gradient = row
        assert float(speed or 0) > 0 and (share, own, plain) == (0.5, 50.0, 100.0)
        assert float(pixels or 0) <= 1e-5 and float(gradient or 0) <= 1e-5
    assert {(chunk, frames) for chunk, how, frames in asked if how == case.ENGINE} == {
        (chunk, frames) for chunk in (1, None) for frames in (2, 3)
    }
    assert len(report.marks) == 9 and all(mark.met for mark in report.marks)


def test_the_gradient_has_a_weight_for_every_pixel(pocket: Config) -> None:
    workload = Workload(pocket)
    latents, _ = workload.latents(2)
    whole = decode.plainly(workload, latents)
    assert whole.video.shape == (1, 3, 5, 64, 64) and whole.gradient.shape == latents.shape
    assert bool((whole.gradient.abs().flatten(3).amax(3) > 0).all())
    halved = decode.Decoded(whole.video + 0.5, whole.gradient / 2)
    assert decode.differences(halved, whole) == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize("implementation", [case.ENGINE, case.PLAIN])
def test_memory_is_that_of_a_process_of_its_own(pocket: Config, implementation: Any) -> None:
    found = case.measure(pocket, "decode", implementation, 2)
    assert found.peak >= found.loaded > 0 and found.seconds > 0
