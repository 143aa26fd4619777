"""What sampling and its backward pass take beside the weights, on one device, and what of it waits on the host."""

from __future__ import annotations

from collections.abc import Iterator

from rewardfl_app.config import schedule
from rewardfl_app.config.schema import Config
from rewardfl_app.planning.activations import Transformer
from rewardfl_app.planning.phase import Part

# On a CPU the C allocator keeps what small blocks leave between them: measured over counted bytes of a step, which has
# many, and of the graphs that wait.
_SCATTERED_STEP, _SCATTERED_KEPT = 2.2, 1.17


class SamplingMemory:
    """Of a micro-batch of one process, in bytes.

    `forward`, `reference`: of a step of one video without a graph, with the LoRA and without. `num_kept`: the most
    steps whose graph is kept from sampling on. `has_graphs`: whether sampling makes any.
    """

    def __init__(self, config: Config, steps: Transformer, on_gpu: bool) -> None:
        self._steps = steps
        self._batch = config.train.per_device_train_batch_size
        self._shares = config.deepspeed.context_parallel
        self._checkpointed = config.model.use_gradient_checkpointing
        self._offloads = self._checkpointed and on_gpu and config.model.use_gradient_checkpointing_offload
        self._factor, self._kept_factor = (1.0, 1.0) if on_gpu else (_SCATTERED_STEP, _SCATTERED_KEPT)
        measured = set(schedule.kl_steps(config)) if config.reward.kl_weight > 0 else set()
        self._penalised = bool(measured)
        self.num_kept = _num_kept(config)
        self.has_graphs = self.num_kept > 0 or bool(measured - set(schedule.gradient_steps(config)))
        self.forward = self._factor * steps.forward
        self.reference = self._factor * steps.reference

    def sampled(self) -> Iterator[Part]:
        """While the steps are sampled."""
        if self.num_kept:
            yield self._others(self.num_kept - 1)
        yield self._step() if self.has_graphs else Part("a step", self._batch * self.forward)

    def kept(self) -> Iterator[Part]:
        """While the video is decoded and scored."""
        yield self._others(self.num_kept)

    def pulled_back(self) -> Iterator[Part]:
        """While the first step is pulled back; where graphs are kept, all their references are computed before it."""
        step = self._step()
        if self.num_kept:
            yield self._others(self.num_kept - 1)
            if self._penalised:
                together = self._steps.held(self._checkpointed) + self.num_kept * self._steps.reference
                more = together - self._steps.gradient_step(self._checkpointed, with_reference=True)
                step = Part(step.what, step.size + self._batch * self._factor * max(more, 0.0))
        yield step

    def on_host(self) -> Iterator[Part]:
        """What of the graphs waits in the memory of the host."""
        if self._offloads:
            size = self._steps.layers * self._steps.block_input + self._others_tokens
            yield Part("activations that wait", self._batch * max(self.num_kept, 1) * size)

    def _step(self) -> Part:
        size = self._steps.gradient_step(self._checkpointed, self._penalised)
        if self._offloads:
            size -= (self._steps.layers - 2) * self._steps.block_input  # two are under way
        else:
            size += self._others_tokens
        return Part("a step with its graph", self._batch * self._factor * size)

    def _others(self, number: int) -> Part:
        waits = self._steps.layers * self._steps.block_input
        held = self._steps.held(self._checkpointed) + (-waits if self._offloads else self._others_tokens)
        return Part("graphs of other steps", self._batch * self._kept_factor * number * held)

    @property
    def _others_tokens(self) -> float:
        """What the first block keeps of the tokens that other processes go on with."""
        return (self._shares - 1) * self._steps.block_input


def _num_kept(config: Config) -> int:
    """See training.gradient_plan."""
    sampling = config.sampling
    if sampling.gradient_mode == "draft_lv":
        return 0
    drawn = {"refl": 1, "random_steps": sampling.num_gradient_steps}
    number = drawn.get(sampling.gradient_mode, len(schedule.gradient_steps(config)))
    return min(sampling.keep_graphs, number)
