"""What Wan2.2 needs on disk is said with where to get it and where to put it."""

from __future__ import annotations

from pathlib import Path

from rewardfl_app.config import presets
from rewardfl_app.ui.config_form import values_of
from rewardfl_app.ui.model_needs import needs


def test_wan_says_what_to_get_and_where_to_put_it(tmp_path: Path) -> None:
    values = values_of(presets.preset("wan22_i2v_a14b"))
    found = {need.field: need for need in needs(values)}
    pack = found["reward.reward_model_path"]
    assert pack.state == "missing" and "antelopev2.zip" in pack.text and "reward_model_path" in pack.text
    assert found["model.tokenizer_path"].state == found["reward.judge_model_path"].state == "optional"
    assert all(found[field].state == "missing" for field in ("model.model_paths", "data.metadata_path"))
    values["reward.reward_model_path"] = str(tmp_path)
    values["data.metadata_path"] = str(tmp_path / "none.csv")
    found = {need.field: need for need in needs(values)}
    assert found["reward.reward_model_path"].state == "ready"
    assert "none.csv does not exist" in found["data.metadata_path"].text


def test_weights_of_the_hugging_face_cache_are_not_missing() -> None:
    values = values_of(presets.preset("wan22_i2v_a14b")) | {"model.model_id_with_origin_paths": "a/b:c"}
    assert needs(values)[0].state == "ready"


def test_pocket_needs_nothing() -> None:
    assert needs(values_of(presets.preset("pocket"))) == []


def test_the_model_of_one_transformer_has_its_own_files() -> None:
    found = {need.field: need for need in needs({"model.model_name": "wan2_2_5b"})}
    assert "Wan2.2-TI2V-5B" in found["model.model_paths"].title
    assert "download wan2_2_5b --to DIR" in found["model.model_paths"].text
    assert not {"model.high_noise_lora", "model.low_noise_lora"} & set(found)
    loras = {need.field: need for need in needs({"model.model_name": "wan2_2"})}
    assert loras["model.high_noise_lora"].state == "optional" and "lightning" in loras["model.low_noise_lora"].text
