"""The form is the schema: every field is there, values survive the way through text, differences are seen."""

from __future__ import annotations

import pytest

from rewardfl_app.config import presets
from rewardfl_app.config.schema import Config
from rewardfl_app.config.validation import build
from rewardfl_app.ui.config_form import FormField, changes, mapping_of, sections, text_of, values_of


def _fields() -> dict[str, FormField]:
    return {field.key: field for section in sections() for field in section.fields}


def test_every_field_of_the_schema_is_in_the_form_with_a_help_text() -> None:
    expected = {
        f"{section}.{name}"
        for section, info in Config.model_fields.items()
        for name in info.annotation.model_fields  # type: ignore[union-attr]
    }
    fields = _fields()
    assert set(fields) == expected
    assert all(field.help and field.applies_text for field in fields.values())
    assert {"train.learning_rate", "train.max_steps", "reward.kl_weight"} <= {
        key for key, field in fields.items() if field.level == "basic"
    }


def test_kinds_follow_the_types() -> None:
    fields = _fields()
    assert fields["train.learning_rate"].kind == "number"
    assert fields["train.max_steps"].kind == "integer"
    assert fields["reward.hinge"].kind == "switch"
    assert fields["model.trainable_models"].kind == "text"
    assert fields["data.height"].kind == "integer" and fields["data.height"].optional
    assert fields["model.dtype"].choices == ("bfloat16", "float32")


@pytest.mark.parametrize("name", presets.names())
def test_values_survive_the_way_through_the_form(name: str) -> None:
    config = presets.preset(name)
    assert build(mapping_of(values_of(config)), check_files=False) if name == "pocket" else True
    mapping = mapping_of(values_of(config))
    assert Config.model_validate(mapping) == config


def test_numbers_are_written_as_people_write_them() -> None:
    assert (text_of(2.5e-06), text_of(1.0), text_of(0.1), text_of(None), text_of(True)) == (
        "2.5e-6",
        "1",
        "0.1",
        "",
        "true",
    )


def test_text_that_is_no_number_stays_for_validation_to_report() -> None:
    assert mapping_of({"train.max_steps": "many", "data.height": " "}) == {
        "train": {"max_steps": "many"},
        "data": {"height": None},
    }


def test_changes_name_field_and_both_values() -> None:
    before = values_of(presets.preset("pocket"))
    changed = changes(before, {**before, "train.max_steps": "7"})
    assert [(change.field, change.before, change.after) for change in changed] == [("train.max_steps", "50", "7")]
