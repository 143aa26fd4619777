"""Compiled blocks give the gradient of an update, the reference and the names that the blocks themselves give.

Compiling takes most of the time here, so all tests share two sizes of inputs, and with them the graphs.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_wan import model_config
from torch import Tensor
from torch._dynamo.utils import counters
from torch.utils.checkpoint import checkpoint

from rewardfl_app.config.problems import ConfigError
from rewardfl_app.config.schema import Config
from rewardfl_app.models import compiled_blocks, lora, sampling, wan
from rewardfl_app.models.activation_offload import OffloadedCheckpoint
from rewardfl_app.models.adaptation import Adaptation, FullWeights, LoraAdaptation
from rewardfl_app.models.sampling import seeded_noise
from rewardfl_app.training import failure, gradients
from rewardfl_app.training.gradient_plan import Plan

pytestmark = pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="there is no C++ compiler")

EXACT = 1e-5
SHAPE = (2, 16, 2, 4, 4)


def config_of(folder: Path, compiled: bool) -> Config:
    """Steps 3 to 7 of eight run on the expert that trains; the divergence alone has a gradient on the first three."""
    return Config(
        model=model_config(folder, compile_blocks=compiled),
        sampling={"num_inference_steps": 8, "mid_timestep": 6, "final_timestep": 7},
        reward={"kl_weight": 0.5, "kl_steps": "expert"},
        lora={"lora_rank": 2, "lora_target_modules": "q,ffn.2"},
    )


def trained(folder: Path, compiled: bool) -> LoraAdaptation:
    """An expert with a LoRA that is not zero any more."""
    config = config_of(folder, compiled)
    adaptation = LoraAdaptation(wan.load(config.model).experts["low_noise"], config, seed=0)
    with torch.no_grad():
        for number, parameter in enumerate(adaptation.parameters()):
            parameter.add_(0.1 * seeded_noise(parameter.shape, number))
    return adaptation


@pytest.fixture(scope="module")
def plain(saved_pipeline: Path) -> LoraAdaptation:
    return trained(saved_pipeline, compiled=False)


@pytest.fixture(scope="module")
def compiled(saved_pipeline: Path) -> LoraAdaptation:
    return trained(saved_pipeline, compiled=True)


def forward(adaptation: Adaptation, step: int, x: Tensor, batch: int = SHAPE[0]) -> Tensor:
    text, condition = seeded_noise((batch, 5, 16), 1), seeded_noise((batch, 20, *SHAPE[2:]), 2)
    return sampling.predict_velocity(adaptation.expert, x, 0.1 * (9 - step), text, condition)


def update(adaptation: Adaptation, config: Config) -> list[Tensor]:
    """Final latents, divergence and the gradient of an update, of a loss that is linear in the final latents."""
    plan = Plan.draw(config, 1, config.reward.kl_weight)

    def velocity(step: int, x: Tensor) -> Tensor:
        return forward(adaptation, step, x)

    def references(steps: Sequence[int], latents: Sequence[Tensor]) -> list[Tensor]:
        with adaptation.base():
            return [forward(adaptation, step, x) for step, x in zip(steps, latents, strict=True)]

    def backward(surrogate: Tensor) -> None:
        surrogate.backward()

    for parameter in adaptation.parameters():
        parameter.grad = None
    start = seeded_noise(SHAPE, 3)
    found = gradients.sample(velocity, references, start, plan, backward, start=3, scale=0.5)
    kl = gradients.pull_back(velocity, references, found, 0.01 * seeded_noise(SHAPE, 4), plan, backward, scale=0.5)
    gradient = [p.grad.flatten() for p in adaptation.parameters() if p.grad is not None]
    return [found.final, kl, torch.cat(gradient)]


def same(got: Sequence[Tensor], wanted: Sequence[Tensor]) -> bool:
    return all(float((a - b).norm() / b.norm()) <= EXACT for a, b in zip(got, wanted, strict=True))


def graphs() -> int:
    return int(counters["stats"]["unique_graphs"])


Run = Callable[..., Any]


def kept(block: torch.nn.Module, *inputs: Any) -> Any:
    return checkpoint(block, *inputs, use_reentrant=False)


@pytest.mark.parametrize("way", ["plain", "checkpointed", "offloaded"])
def test_the_gradient_of_an_update(
    saved_pipeline: Path, plain: LoraAdaptation, compiled: LoraAdaptation, way: str
) -> None:
    config = config_of(saved_pipeline, compiled=True)
    wanted = update(plain, config)
    assert float(wanted[1].min()) > 1e-4, "there is a divergence"
    blocks = compiled.expert.blocks
    runs: dict[str, Run] = {"checkpointed": kept, "offloaded": OffloadedCheckpoint(blocks)}
    if way in runs:
        compiled.expert.enable_gradient_checkpointing(runs[way])
    try:
        before = graphs()
        assert same(update(compiled, config), wanted)
        # With and without the LoRA; with a graph, and that of the first block, whose input has none.
        assert graphs() - before == (4 if way == "plain" else 0) and not counters["graph_break"]
    finally:
        compiled.expert.disable_gradient_checkpointing()


def test_a_graph_is_pulled_back_twice_in_any_thread(saved_pipeline: Path, compiled: LoraAdaptation) -> None:
    """On a GPU the backward pass runs in a thread of PyTorch's, which has options of its own."""
    found: list[list[Tensor]] = []
    config = config_of(saved_pipeline, compiled=True)
    worker = threading.Thread(target=lambda: found.append(update(compiled, config)))
    worker.start()
    worker.join()
    assert found and same(found[0], update(compiled, config))


def test_another_expert_shares_the_graphs_and_another_size_makes_one(
    saved_pipeline: Path, plain: LoraAdaptation, compiled: LoraAdaptation
) -> None:
    config = config_of(saved_pipeline, compiled=True)
    update(compiled, config)
    before = graphs()
    update(trained(saved_pipeline, compiled=True), config)
    assert graphs() == before
    x = seeded_noise((3, *SHAPE[1:]), 5)
    with torch.no_grad():
        assert same([forward(compiled, 4, x, 3)], [forward(plain, 4, x, 3)])
    assert graphs() == before + 1


def test_the_reference_is_the_network_without_the_lora(plain: LoraAdaptation, compiled: LoraAdaptation) -> None:
    x = seeded_noise(SHAPE, 6)
    with torch.no_grad():
        with plain.base():
            wanted = forward(plain, 5, x)
        with compiled.base():
            assert same([forward(compiled, 5, x)], [wanted])
        assert same([forward(compiled, 5, x)], [forward(plain, 5, x)])
        assert not same([forward(compiled, 5, x)], [wanted])


def test_names_and_files_stay(plain: LoraAdaptation, compiled: LoraAdaptation, tmp_path: Path) -> None:
    assert list(compiled.expert.state_dict()) == list(plain.expert.state_dict())
    assert list(compiled.named_parameters()) == list(plain.named_parameters())
    compiled.save(tmp_path / "low_noise.safetensors")
    saved = load_file(tmp_path / "low_noise.safetensors")
    assert saved.keys() == lora.state_dict(plain.expert).keys()
    plain.load(tmp_path / "low_noise.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), compiled.parameters(), strict=True))


def test_the_copy_that_stands_for_the_untrained_network_is_compiled_too(saved_pipeline: Path) -> None:
    settings = model_config(saved_pipeline, compile_blocks=True)
    whole = FullWeights(wan.load(settings).experts["low_noise"], keep_base=True, offload_base=False)
    assert all(compiled_blocks.are_in(network) for network in whole.networks) and len(whole.networks) == 2


def test_off_nothing_is_compiled(plain: LoraAdaptation) -> None:
    assert not compiled_blocks.are_in(plain.expert)


def test_without_a_compiler_the_sentence_says_what_to_do(saved_pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._inductor.config as inductor

    monkeypatch.setattr(compiled_blocks, "_small", lambda numbers: numbers.cos() + 0.125)  # not compiled before
    compiled_blocks._check.cache_clear()
    with inductor.patch({"cpp.cxx": (None, "/there/is/no/g++")}), pytest.raises(ConfigError) as refused:
        wan.load(model_config(saved_pipeline, compile_blocks=True))
    [problem] = refused.value.problems
    assert problem.field == "model.compile_blocks"
    assert "No working C++ compiler" in problem.message and "turn this off" in problem.message
    cause = refused.value.__cause__
    assert cause is not None and compiled_blocks.is_of_compiler(cause)
    code, kind, sentence, advice = failure.explain(cause, "training", 3)
    assert (code, kind) == (failure.BAD_INPUT, "bad_config")
    assert "could not be compiled while training after step 3" in sentence and "compile_blocks off" in advice
    assert not compiled_blocks.is_of_compiler(RuntimeError("of the network itself"))
