"""What a model family needs on disk: whether it is there, else what to download and where its path is to be given."""

from __future__ import annotations

from dataclasses import dataclass

from rewardfl_app.config import family, obtaining
from rewardfl_app.config.paths import located
from rewardfl_app.ui.config_form import Values, text_of


@dataclass(frozen=True)
class Need:
    """One thing a model family needs. `state` is "ready", "missing" or "optional"; `text` says what to get, where."""

    field: str
    title: str
    state: str
    text: str


def needs(values: Values) -> list[Need]:
    """What the chosen family needs on disk and whether it is named; empty for `pocket`, which brings everything."""
    name = text_of(values.get("model.model_name"))
    kind = family.FAMILIES.get(name)
    if kind is None or not kind.repository:
        return []
    weights = _need(values, "model.model_paths", f"{kind.title} weights", obtaining.weights(kind))
    if weights.state == "missing" and text_of(values.get("model.model_id_with_origin_paths")).strip():
        weights = Need("model.model_id_with_origin_paths", weights.title, "ready", "From the Hugging Face cache.")
    loras = []
    if kind.is_mixture:
        for field, title in (("high_noise_lora", "Lightning, high noise"), ("low_noise_lora", "Lightning, low noise")):
            loras.append(_need(values, f"model.{field}", title, obtaining.LIGHTNING, optional=True))
    return [
        weights,
        *loras,
        _need(values, "model.tokenizer_path", "Tokenizer", obtaining.TOKENIZER, optional=True),
        _need(values, "reward.reward_model_path", "Face pack", obtaining.FACE_PACK),
        _need(values, "reward.judge_model_path", "Judge", obtaining.JUDGE, optional=True),
        _need(values, "data.metadata_path", "Your clips", obtaining.CLIPS),
    ]


def _need(values: Values, field: str, title: str, text: str, optional: bool = False) -> Need:
    path = text_of(values.get(field)).strip()
    if path and located(path).exists():
        return Need(field, title, "ready", path)
    if optional and not path:
        return Need(field, title, "optional", text)
    return Need(field, title, "missing", f"{path} does not exist. {text}" if path else text)
