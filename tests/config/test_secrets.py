"""What counts as a secret, and that text about other things stays as it is."""

from __future__ import annotations

import html
import io
import json
from urllib.parse import quote

import pytest

from rewardfl_app.config import presets, validation
from rewardfl_app.config.secrets import BLANK, holds_token, redacted, redacted_in, redacted_page
from rewardfl_app.runs.quiet_output import QuietStream

KEY = "0123456789abcdef0123456789abcdef01234567"
# Put together here, so that no search for tokens finds one in this file.
HUB = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz012345"
FORMS = (HUB, "ghp_" + 36 * "a", "sk-" + 40 * "b", "glpat-" + 20 * "c", "xoxb-" + 20 * "1", "AKIA" + 16 * "D")


@pytest.mark.parametrize("name", ["HF_TOKEN", "WANDB_API_KEY", "DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "REWARDFL_AUTH"])
def test_the_value_of_a_secret_variable_is_blanked_however_it_is_written(name: str) -> None:
    value = 'pass"wo<rd> &/1'
    told = f"{value} | {json.dumps({'v': value})} | {html.escape(value)} | {quote(value, safe='')}"
    blanked = redacted(told, {name: value})
    assert "wo<rd>" not in blanked and "wo&lt;rd" not in blanked and "wo%3C" not in blanked
    assert blanked.count(BLANK) == 4


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "MAX_TOKENS", "HF_TOKEN_PATH", "SSH_AUTH_SOCK", "PATH"])
def test_other_variables_are_no_secrets(name: str) -> None:
    assert redacted("at 131072 of 131072", {name: "131072"}) == "at 131072 of 131072"


def test_short_values_are_left_and_the_password_of_a_pair_is_blanked() -> None:
    assert redacted("true and 12345", {"USE_TOKEN": "true", "PASSWORD": "12345"}) == "true and 12345"
    assert redacted("it is hunter22", {"REWARDFL_AUTH": "me:hunter22"}) == f"it is {BLANK}"


@pytest.mark.parametrize("token", FORMS)
def test_known_forms_are_blanked_without_a_variable(token: str) -> None:
    assert redacted(f"with {token}, then", {}) == f"with {BLANK}, then"
    assert holds_token(f"x={token}")


def test_what_stands_before_a_secret_stays() -> None:
    assert redacted(f"wandb: api_key={KEY}", {}) == f"wandb: api_key={BLANK}"
    assert redacted("https://me:hunter2@hub.example/x", {}) == f"https://me:{BLANK}@hub.example/x"
    assert redacted("Authorization: Bearer abcdefghijklmnop", {}) == f"Authorization: Bearer {BLANK}"


def test_ordinary_text_stays() -> None:
    for text in (
        f"revision {KEY}",
        "sha256 " + 64 * "a",
        "https://hub.example:8443/models/x@main",
        "2026-01-01 12:00:00 step 3 of 40: reward 0.71",
        "task-force sk-learn hf_home",
        "models/antelopev2/glintr100.onnx",
    ):
        assert redacted(text, {}) == text and not holds_token(text)


def test_nested_values_and_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert redacted_in({"a": [HUB, 1, {"b": f"x {HUB}"}]}) == {"a": [BLANK, 1, {"b": f"x {BLANK}"}]}
    monkeypatch.setenv("X_PASSWORD", "hunter22")
    picture = "data:image/png;base64,AAAAhunter22AAAA=="
    page = f'<p>hunter22</p><img src="{picture}"><p>{HUB}</p>'
    assert redacted_page(page) == f'<p>{BLANK}</p><img src="{picture}"><p>{BLANK}</p>'


FIELDS = ("model.model_id_with_origin_paths", "data.metadata_path", "reward.reward_model_path")


@pytest.mark.parametrize("field", FIELDS)
def test_a_setting_with_a_token_is_refused_with_the_way_out(field: str) -> None:
    section, _, name = field.partition(".")
    mapping = presets.preset("pocket").model_dump(mode="json")
    mapping[section][name] = f"https://me:{HUB}@hub.example/clips.csv"
    with pytest.raises(validation.ConfigError) as refused:
        validation.build(mapping, check_files=False)
    (told,) = [problem for problem in refused.value.problems if "HF_TOKEN" in problem.message]
    assert told.field == field and HUB not in told.message


def test_what_is_printed_is_blanked_and_the_stream_stays_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "my-own-token")
    kept = io.StringIO()
    stream = QuietStream(kept)
    assert stream.write("a my-own-token\n") == len("a my-own-token\n")
    stream.writelines(["b ", "my-own-token"])
    assert kept.getvalue() == f"a {BLANK}\nb {BLANK}" and not stream.closed
