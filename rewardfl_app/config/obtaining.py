"""Where the files of a model that does not ship with the package are to be had, and which setting takes them."""

from __future__ import annotations

from rewardfl_app.config.family import Family

_DOWNLOAD = "`python -m rewardfl_app download {offer} --to DIR`"

TOKENIZER = (
    "The folder google/umt5-xxl of the Wan2.2 download goes into model.tokenizer_path. Empty: it is taken from Hugging "
    "Face."
)
FACE_PACK = (
    f"{_DOWNLOAD.format(offer='antelopev2')} fetches antelopev2.zip from the releases of github.com/deepinsight/"
    "insightface and unpacks its ONNX files into DIR: give DIR as reward.reward_model_path. The pack is free for "
    "research, not for commercial use."
)
JUDGE = (
    "A second recogniser, for example w600k_r50.onnx of insightface's buffalo_l, given as reward.judge_model_path. It "
    "is never trained on, so it tells whether a gain is real. Empty: nothing tells."
)
CLIPS = (
    "Write a metadata.csv with the columns video and prompt, paths relative to it, and give it as data.metadata_path. "
    "The first frame of every clip must show a face."
)
LIGHTNING = (
    f"{_DOWNLOAD.format(offer='lightning')} fetches lightx2v/Wan2.2-Lightning from huggingface.co, two files for "
    "model.high_noise_lora and model.low_noise_lora. Empty: the weights are distilled already, or need more steps."
)


def weights(kind: Family) -> str:
    """Of a family's networks."""
    return (
        f"{_DOWNLOAD.format(offer=kind.offer)} fetches {kind.repository} from huggingface.co and writes "
        f"DIR/model_paths.json: give that file, or one of your own with the entries {', '.join(kind.networks)}, as "
        "model.model_paths."
    )
