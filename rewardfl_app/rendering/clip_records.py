"""The encoded clips of a data set in the store: under which keys their parts are kept, and how they are written.

A part's key holds all that the part depends on and no more, so a changed prompt leaves the condition where it is, and
another weight of the reward leaves the reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from rewardfl_app.config.schema import FACE_SIMILARITY
from rewardfl_app.models import conditioning
from rewardfl_app.models.wan import MAX_SEQUENCE_LENGTH
from rewardfl_app.rendering import reference_record
from rewardfl_app.runs import content

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config
    from rewardfl_app.data.dataset import ClipDataset
    from rewardfl_app.models.wan import WanModel
    from rewardfl_app.rendering.scoring import ClipReference
    from rewardfl_app.rendering.store import Store

Part = Literal["text", "condition", "clean", "reference"]

# Raised when the same inputs give another result.
_FORMATS: dict[Part, int] = {"text": 1, "condition": 1, "clean": 1, "reference": 1}
# Settings of the reward that a reference has nothing to do with. The files count by their content; of rewards of one's
# own only whether there are any.
_NOT_IN_REFERENCES = frozenset(
    "reward_model_path judge_model_path rewards reward_weight reward_mean reward_std kl_weight kl_target kl_steps "
    "kl_through_x anchor_weight hinge missing_face_penalty include_first_frame gradient_frame_stride".split()
)
_VERSIONS = {name: metadata.version(name) for name in ("torch", "onnxruntime")}


@dataclass(frozen=True)
class ClipKeys:
    """Where the parts of one clip are kept; `content` stands for all that the model is given."""

    text: str
    condition: str
    clean: str
    reference: str

    @property
    def content(self) -> str:
        return content.digest([self.text, self.condition])


class ClipRecords:
    """Parts of the clips of one data set, for one model and one reward."""

    def __init__(self, model: WanModel, dataset: ClipDataset, config: Config, store: Store) -> None:
        self._model = model
        self._dataset = dataset
        self._reward = config.reward
        self._store = store
        self._keys: dict[int, ClipKeys] = {}

    @property
    def is_on(self) -> bool:
        """Whether what is written will be found again."""
        return self._store.is_on

    def keys(self, position: int) -> ClipKeys:
        """The keys of the clip at a position of the data set. Raises DataError naming the row."""
        if position not in self._keys:
            pixels = self._dataset.content(position)
            prompt = conditioning.clean_prompt(self._dataset.rows[position].prompt)
            of: dict[Part, object] = {
                "text": [prompt, MAX_SEQUENCE_LENGTH, self._text_networks],
                "condition": [pixels, self._vae],
                "clean": [pixels, self._vae],
                "reference": [pixels, self._faces],
            }
            digests = {part: content.digest([part, _FORMATS[part], value]) for part, value in of.items()}
            self._keys[position] = ClipKeys(**digests)
        return self._keys[position]

    def has(self, part: Part, position: int) -> bool:
        """Whether a part is kept. Raises DataError naming the row."""
        return self._store.has(part, getattr(self.keys(position), part))

    def tensor(self, part: Part, position: int) -> Tensor | None:
        """A part that is one tensor, on the CPU; None when it is not kept."""
        found = self._store.get(part, getattr(self.keys(position), part))
        return None if found is None else found["value"]

    def keep(self, part: Part, position: int, value: Tensor) -> None:
        """Keeps a part that is one tensor."""
        self._store.put(part, getattr(self.keys(position), part), {"value": value})

    def reference(self, position: int) -> ClipReference | None:
        """The reference of a clip; None when it is not kept."""
        stored = self._store.read("reference", self.keys(position).reference)
        if stored is None:
            return None
        return reference_record.restored(stored, self._dataset.rows[position], self._model.device)

    def keep_reference(self, position: int, known: ClipReference) -> None:
        self._store.put("reference", self.keys(position).reference, *reference_record.record(known))

    @cached_property
    def _text_networks(self) -> str:
        return self._model.digest("text_encoder", "tokenizer")

    @cached_property
    def _vae(self) -> str:
        return self._model.digest("vae_encoder")

    @cached_property
    def _faces(self) -> dict[str, object]:
        settings = self._reward.model_dump(mode="json", exclude=set(_NOT_IN_REFERENCES))
        paths = {"pack": self._reward.reward_model_path, "judge": self._reward.judge_model_path}
        return {
            "files": {name: path and content.tree_digest(Path(path), ".onnx") for name, path in paths.items()},
            "own": dict(self._reward.rewards) != {FACE_SIMILARITY: 1.0},
            "device": self._model.digest(),
            "settings": settings,
            "versions": _VERSIONS,
        }
