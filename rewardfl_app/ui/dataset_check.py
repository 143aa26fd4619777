"""Finding the faces of the clips that the form names: which table, with which face pack, and how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewardfl_app.config.paths import located
from rewardfl_app.config.presets import preset
from rewardfl_app.config.problems import ConfigError
from rewardfl_app.config.schema import Config, RewardConfig
from rewardfl_app.config.validation import build
from rewardfl_app.data.errors import DataError
from rewardfl_app.supervisor import data_checks
from rewardfl_app.supervisor.data_checks import DataCheckError
from rewardfl_app.supervisor.freeze import EMBEDDED_FAMILY, with_embedded_scorers
from rewardfl_app.ui.config_form import Values, mapping_of
from rewardfl_app.ui.dataset_view import describe, embedded_clips

NO_PACK = "Faces are found with the face pack: give its folder as reward_model_path first."


def view(request: Mapping[str, Any], runs_dir: Path) -> dict[str, Any]:
    """The clips of the form's values, see `dataset_view.describe`, with {embedded, pack_problem, check}.

    Other fields may be wrong meanwhile. The embedded clips (family `pocket` without a path) are rendered here on first
    use (seconds).

    Args:
        request: {values, page, only_problems} as the page holds them.
    """
    values = _values(request)
    embedded = _is_embedded(values)
    try:
        path = _table(values, runs_dir)
    except OSError as error:
        sentence = f"The clips cannot be made in {runs_dir} ({error.strerror or error}): free space there."
        return {
            **describe(None, runs_dir),
            "error": sentence,
            "embedded": embedded,
            "pack_problem": None,
            "check": None,
        }
    reward, pack_problem = _reward(values)
    page = request.get("page")
    shown = describe(path, runs_dir, reward, page if isinstance(page, int) else 0, bool(request.get("only_problems")))
    return {**shown, "embedded": embedded, "pack_problem": pack_problem, "check": progress(request, runs_dir)}


def progress(request: Mapping[str, Any], runs_dir: Path) -> dict[str, Any] | None:
    """How the check of the form's clips stands: {state, done, total, message, finished}; None when there was none."""
    asked = _asked(request, runs_dir)
    check = data_checks.look(runs_dir, *asked) if asked else None
    if check is None:
        return None
    return {
        "state": check.state,
        "done": check.done,
        "total": check.total,
        "message": check.message,
        "finished": check.is_finished,
    }


def start(request: Mapping[str, Any], runs_dir: Path) -> dict[str, Any]:
    """Look for the faces of the form's clips. Returns {check} or {error}."""
    values = _values(request)
    reward, problem = _reward(values)
    try:
        path = _table(values, runs_dir)
        if reward is None or path is None:
            return {"error": problem or "Name the clips first: give their metadata.csv as metadata_path."}
        data_checks.start(runs_dir, located(path), reward)
    except (DataCheckError, DataError, OSError) as error:
        return {"error": str(error)}
    return {"check": progress(request, runs_dir)}


def cancel(request: Mapping[str, Any], runs_dir: Path) -> dict[str, Any]:
    """End the check; what was found stays. Returns {check}."""
    if asked := _asked(request, runs_dir):
        data_checks.cancel(runs_dir, *asked)
    return {"check": progress(request, runs_dir)}


def _values(request: Mapping[str, Any]) -> Values:
    values = request.get("values")
    return values if isinstance(values, Mapping) else {}


def _is_embedded(values: Values) -> bool:
    return values.get("model.model_name") == EMBEDDED_FAMILY and not _typed(values)


def _typed(values: Values) -> str:
    return str(values.get("data.metadata_path") or "").strip()


def _table(values: Values, runs_dir: Path) -> str | None:
    """The metadata.csv that is meant; the embedded one is rendered the first time. Raises OSError."""
    return embedded_clips(runs_dir) if _is_embedded(values) else _typed(values) or None


def _asked(request: Mapping[str, Any], runs_dir: Path) -> tuple[Path, RewardConfig] | None:
    """Table and face pack of a check, None when one is missing."""
    values = _values(request)
    reward, _ = _reward(values)
    try:
        path = _table(values, runs_dir)
    except OSError:
        return None
    return None if reward is None or path is None else (located(path), reward)


def _reward(values: Values) -> tuple[RewardConfig | None, str | None]:
    """The reward section of the form, or one sentence on why faces cannot be found with it."""
    given = mapping_of({key: value for key, value in values.items() if key.startswith("reward.")}).get("reward", {})
    wanted = ("reward_model_path", "det_size", "det_threshold", "nms_threshold")
    section = {name: given[name] for name in wanted if name in given}
    # Any complete configuration will do around it: only the section's own problems are looked at.
    around: Config = preset(EMBEDDED_FAMILY)
    try:
        config = build({**around.model_dump(mode="json"), "reward": section})
    except ConfigError as error:
        return None, error.problems[0].message
    if values.get("model.model_name") == EMBEDDED_FAMILY:
        config = with_embedded_scorers(config)
    return (config.reward, None) if config.reward.reward_model_path else (None, NO_PACK)
