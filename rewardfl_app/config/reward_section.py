"""What is rewarded and how it adds up to the loss: the section `reward`."""

from __future__ import annotations

from typing import Literal

from rewardfl_app.config.section import Section, Weights
from rewardfl_app.config.section import field as _field

FACE_SIMILARITY = "face_similarity"  # the reward of rewards/identity.py


class RewardConfig(Section):
    """The face reward, the divergence penalty and how they add up to the loss."""

    reward_model_path: str | None = _field(
        None,
        "Folder with the ONNX files of a face pack: a SCRFD detector and an ArcFace recogniser, for example "
        "insightface's unzipped `antelopev2`. Leave empty for `pocket`.",
        level="basic",
        path="folder",
    )
    judge_model_path: str | None = _field(
        None,
        "A second face recogniser (ONNX file or folder) that is never trained on, so that an increase of the reward "
        "can be believed. Empty: no judge is measured, except for `pocket`, which has its own.",
        path="file",
    )
    rewards: Weights = _field(
        FACE_SIMILARITY,
        "Rewards that add up to R, comma-separated, each with a weight: `face_similarity`, and classes of your own as "
        "`package.module:ClassName=0.5` (see rewards/protocol.py). A weight of 0 is measured, not trained.",
    )
    reward_weight: float = _field(
        0.1,
        "Weight of the reward in the loss: loss = -reward_weight (R - reward_mean) / reward_std + kl_weight KL.",
        level="basic",
        applies="live",
        ge=0.0,
    )
    reward_mean: float = _field(
        0.54,
        "Mean that the reward is normalised by, in units of cosine similarity. 0.54 is the reference's for Wan2.2.",
        applies="live",
    )
    reward_std: float = _field(
        0.16,
        "Standard deviation that the reward is normalised by, above 0. 0.16 is the reference's for Wan2.2.",
        applies="live",
        gt=0.0,
    )
    kl_weight: float = _field(
        1.0,
        "Weight of the divergence from the untrained model. Too low and the model cheats, for example by freezing the "
        "face; too high and it does not learn. 0 turns it off.",
        level="basic",
        applies="live",
        ge=0.0,
    )
    kl_target: float | None = _field(
        None,
        "Divergence to hold: kl_weight is then only the start and is raised or lowered after every update, by at most "
        "2 percent. Empty: kl_weight stays as it is.",
        applies="live",
        gt=0.0,
    )
    kl_steps: Literal["gradient", "expert"] = _field(
        "gradient",
        "Steps on which the divergence is measured: `gradient` is the steps that carry the gradient (the reference), "
        "`expert` is every sampled step of the trained experts, which keeps motion better.",
        applies="live",
    )
    kl_through_x: bool = _field(
        False,
        "Let the divergence's gradient also flow through the latent that enters a step, as the reference "
        "implementation did. Off is the textbook form.",
        applies="live",
    )
    anchor_weight: float = _field(
        0.0,
        "Weight of a flow-matching loss on the real clips, which holds the model near the data. 0 turns it off.",
        applies="live",
        ge=0.0,
    )
    pool: Literal["mean", "centroid", "max", "first_frame"] = _field(
        "mean",
        "How a generated face is compared with the faces of the clip's real frames: mean or max of the similarities, "
        "similarity to their centroid, or to the first frame's face alone.",
    )
    hinge: bool = _field(
        False,
        "Let the reward saturate at the similarity the real clip has with itself, so that nothing is gained by being "
        "more alike than real.",
    )
    missing_face_penalty: float = _field(
        0.0,
        "Taken from the reward, times the share of frames in which the person should be seen but no face is found; 0 "
        "or more, in units of cosine similarity. Frames without a face give no gradient of their own.",
        applies="resume",
        ge=0.0,
    )
    include_first_frame: bool = _field(
        False, "Also score frame 0, which is given to the model and so rewards nothing. The reference included it."
    )
    gradient_frame_stride: int = _field(
        1,
        "Only every n-th frame's faces carry the gradient, from an offset drawn for each update, n times as strong: "
        "right on average, and faster. The reward itself is always that of all frames.",
        applies="live",
        ge=1,
    )
    roll_compatible: bool = _field(
        False,
        "Reproduce the reward of the reference implementation (ROLL) with its colour order, scaling and frame 0. For "
        "comparison only: the default follows insightface.",
    )
    det_size: int = _field(
        640,
        "Side of the square the frames are fitted into for face detection, in pixels, a multiple of 32.",
        ge=32,
        multiple_of=32,
    )
    det_threshold: float = _field(0.5, "Lowest detection score that counts as a face, 0 to 1.", gt=0.0, lt=1.0)
    nms_threshold: float = _field(
        0.4, "Overlap (IoU, 0 to 1) above which two detections are taken for the same face.", gt=0.0, lt=1.0
    )
