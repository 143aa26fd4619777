"""What a model family needs on disk: whether it is there, else what to download and where its path is to be given."""

from __future__ import annotations

from dataclasses import dataclass

from rewardfl_app.config.paths import located
from rewardfl_app.ui.config_form import Values, text_of

_WEIGHTS = (
    "Download Wan-AI/Wan2.2-I2V-A14B and the distilled transformers of lightx2v/Wan2.2-Lightning from huggingface.co. "
    "Write a JSON list of four paths (high-noise model, low-noise model, text encoder, VAE) into a file, and give that "
    "file as model_paths."
)
_TOKENIZER = (
    "The folder google/umt5-xxl of the Wan2.2 download goes into tokenizer_path. Empty: it is taken from Hugging Face."
)
_FACE_PACK = (
    "Download antelopev2.zip from the releases of github.com/deepinsight/insightface, unzip its ONNX files into one "
    "folder, and give that folder as reward_model_path. The pack is free for research, not for commercial use."
)
_JUDGE = (
    "A second recogniser, for example w600k_r50.onnx of insightface's buffalo_l, given as judge_model_path. It is "
    "never trained on, so it tells whether a gain is real. Empty: nothing tells."
)
_CLIPS = (
    "A metadata.csv with the columns video and prompt, paths relative to it; the first frame of every clip must show a "
    "face. Give it as metadata_path."
)


@dataclass(frozen=True)
class Need:
    """One thing a model family needs. `state` is "ready", "missing" or "optional"; `text` says what to get, where."""

    field: str
    title: str
    state: str
    text: str


def needs(values: Values) -> list[Need]:
    """What the chosen family needs on disk and whether it is named; empty for `pocket`, which brings everything."""
    if values.get("model.model_name") != "wan2_2":
        return []
    weights = _need(values, "model.model_paths", "Wan2.2 weights", _WEIGHTS)
    if weights.state == "missing" and text_of(values.get("model.model_id_with_origin_paths")).strip():
        weights = Need("model.model_id_with_origin_paths", weights.title, "ready", "From the Hugging Face cache.")
    return [
        weights,
        _need(values, "model.tokenizer_path", "Tokenizer", _TOKENIZER, optional=True),
        _need(values, "reward.reward_model_path", "Face pack", _FACE_PACK),
        _need(values, "reward.judge_model_path", "Judge", _JUDGE, optional=True),
        _need(values, "data.metadata_path", "Your clips", _CLIPS),
    ]


def _need(values: Values, field: str, title: str, text: str, optional: bool = False) -> Need:
    path = text_of(values.get(field)).strip()
    if path and located(path).exists():
        return Need(field, title, "ready", path)
    if optional and not path:
        return Need(field, title, "optional", text)
    return Need(field, title, "missing", f"{path} does not exist. {text}" if path else text)
