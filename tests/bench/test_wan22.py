"""The bench at Wan2.2's sizes, here at small ones: its count of operations is what is done, its table what was seen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rewardfl_app.bench import random_wan, wan22
from rewardfl_app.cli.app import main
from rewardfl_app.config import files, presets, validation
from rewardfl_app.config.problems import ConfigError
from rewardfl_app.config.schema import Config
from rewardfl_app.models import compiled_blocks
from rewardfl_app.planning.network_sizes import TEXT_TOKENS

RELEASED = random_wan.RELEASED
_THIN = {"attention_head_dim": 64, "num_attention_heads": 4, "ffn_dim": 1024, "text_dim": 256, "freq_dim": 64,
         "num_layers": 6}  # fmt: skip
SMALL = {
    name: replace(
        network,
        transformer=MappingProxyType({**network.transformer, **_THIN}),
        vae=MappingProxyType({**network.vae, "base_dim": 8, "decoder_base_dim": 8}),
    )
    for name, network in RELEASED.items()
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_wan, "RELEASED", SMALL)


def settings(*changes: str, preset: str = "wan22_i2v_a14b") -> Config:
    base = ("model.model_paths=x", "reward.reward_model_path=x", "data.metadata_path=x", "data.height=128",
            "data.width=128", "data.num_frames=9", "model.dtype=float32", "sampling.decode_chunk=1")  # fmt: skip
    mapping = files.override(files.to_mapping(presets.preset(preset)), [*base, *changes])
    return validation.build(mapping, check_files=False)


def test_the_operations_counted_are_those_that_are_done() -> None:
    config = settings("model.use_gradient_checkpointing=false", "model.use_gradient_checkpointing_offload=false")
    counts, back = {}, {}
    for layers in (3, 6):
        bench = wan22._Bench(config, layers)
        bench.make()
        # The one kernel whose products the counter sees; the LoRA's own are not in the formula.
        with (
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),
            bench.trained.base(),
            FlopCounterMode(display=False) as done,
        ):
            bench._velocity(bench.x)
        counts[layers] = done.get_total_flops()
        leaf = bench.x.clone().requires_grad_(True)
        with sdpa_kernel(SDPBackend.MATH), bench.trained.base():
            total = bench._velocity(leaf).sum()
            with FlopCounterMode(display=False) as done:
                torch.autograd.grad(total, leaf)
        back[layers] = done.get_total_flops()
        # What embeds time, text and latents is left out, and the text's keys and values are counted for every token.
        assert bench._forward_flop(layers) == pytest.approx(counts[layers], rel=0.3)
    keys = 2 * 2 * 3 * 256 * 256 * (bench.tokens - TEXT_TOKENS)
    assert bench._forward_flop(3) == pytest.approx(counts[6] - counts[3] + keys, rel=0.02)
    # This kernel keeps the weights of the attention, which others compute again: two thirds of them, not the half more.
    products, attention = bench._product_flop(3), bench._attention_flop(3)
    texts = 2 * 2 * 3 * 256 * 256 * bench.tokens + 3 * 2 * 2 * 256 * TEXT_TOKENS * bench.tokens
    assert back[6] - back[3] == pytest.approx(products + 2 * attention - texts, rel=0.03)
    assert bench._backward_flop(3) == products + 2.5 * attention


@pytest.mark.parametrize("changes", [(), ("model.model_name=wan2_2_5b", "model.trainable_models=dit",
                                          "lora.lora_base_model=dit", "model.min_timestep_boundary=0")])  # fmt: skip
def test_the_table_scales_what_was_measured(changes: tuple[str, ...]) -> None:
    report = wan22.measure(settings(*changes), lambda *_: None, layers=2)
    rows = {row[0]: row for row in report.rows}
    assert list(rows) == ["rollout", "decode and back", "gradient steps", "optimizer", "update"]
    seconds = {name: float(row[1]) for name, row in rows.items() if row[1] is not None}  # type: ignore[arg-type]
    assert all(value > 0 for value in seconds.values())
    # Eight steps of six layers where one of two was measured; four of the steps carry the gradient.
    assert rows["rollout"][-1] == pytest.approx(24 * seconds["rollout"])
    assert rows["gradient steps"][-1] == pytest.approx(12 * seconds["gradient steps"])
    assert rows["decode and back"][-1] == pytest.approx(1.5 * seconds["decode and back"])  # two of three latent frames
    whole = sum(float(row[-1]) for name, row in rows.items() if name != "update")  # type: ignore[arg-type]
    assert rows["update"][-1] == pytest.approx(whole)
    assert not report.marks and any(note.startswith("EXTRAPOLATED") for note in report.notes)
    assert report.parameters["layers"] == 2 and report.parameters["all_layers"] == 6


def test_compiled_blocks_are_measured_once_they_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, runs = [], []
    monkeypatch.setattr(compiled_blocks, "compile_in", lambda network, device: compiled.append(network))
    bench = wan22._Bench(settings("model.compile_blocks=true"), 1)
    bench.make()
    bench._measured(lambda: runs.append(0))
    assert compiled == [bench.expert] and len(runs) == 2


def test_families_without_a_released_size_are_refused() -> None:
    with pytest.raises(ConfigError, match="wan2_2, wan2_2_5b"):
        wan22.measure(presets.preset("pocket"), lambda *_: None)


def test_the_command_asks_for_the_word_and_measures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["bench", "wan22"]) == 2
    assert "--random-weights" in capsys.readouterr().err
    assert main(["bench", "wan22", "--random-weights", "--set", "model.model_name=pocket"]) == 2
    assert "released size" in capsys.readouterr().err
    seen: list[str] = []

    def child(name: str, *arguments: str, **_: object) -> None:
        seen.extend([name, *arguments])
        folder = Path(arguments[1])
        config = files.load(folder / "config.yaml", check_files=False)
        report = wan22.measure(config, lambda *_: None, layers=int(arguments[3]))
        (folder / "report.json").write_text(json.dumps(report.content()))

    monkeypatch.setattr("rewardfl_app.supervisor.inference_child.run", child)
    arguments = ["--layers", "1", "--set", "data.height=64", "--set", "data.width=64", "--set", "data.num_frames=5"]
    out = tmp_path / "wan22.json"
    more = ["--set", "model.dtype=float32", "--json", str(out)]
    assert main(["bench", "wan22", "--random-weights", *arguments, *more]) == 0
    printed = capsys.readouterr().out
    assert "EXTRAPOLATED" in printed and "gradient steps" in printed
    assert json.loads(out.read_text())["parameters"]["layers"] == 1
    assert seen[0] == "wan22" and seen[3:] == ["--layers", "1"]
