"""Import of ROLL's Reward FL files: what comes out, what is told about it, and what a hostile file can do."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rewardfl_app.config import files, hydra_file, roll, roll_keys, roll_spreading, validation
from rewardfl_app.config.hydra_references import References
from rewardfl_app.config.problems import ConfigError
from rewardfl_app.config.roll import Imported

EXAMPLES = Path(__file__).parent / "roll" / "examples"
KWARGS = roll_keys.MODEL
TRAINING = roll_keys.TRAINING
Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """ROLL's folder `examples` with two files in the form of its own."""
    return Path(shutil.copytree(EXAMPLES, tmp_path / "ROLL" / "examples"))


@pytest.fixture
def second(examples: Path) -> Path:
    """The file with a LoRA and a divergence; its DeepSpeed configuration is not there."""
    return examples / "docs_examples" / "example_reward_fl.yaml"


@pytest.fixture
def first(examples: Path) -> Path:
    """The file of ROLL's first version."""
    return examples / "wan2.2-14B-reward_fl_ds" / "reward_fl_config.yaml"


def changed(path: Path, **values: Any) -> Path:
    """The file with values put in under full names (`__` for the dot); ... takes a key out."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, value in values.items():
        *sections, key = name.split("__")
        section = content
        for part in sections:
            section = section.setdefault(part, {})
        section[key] = value
        if value is ...:
            del section[key]
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def kwargs(**values: Any) -> dict[str, Any]:
    return {f"actor_train__model_args__model_config_kwargs__{name}": value for name, value in values.items()}


def training(**values: Any) -> dict[str, Any]:
    return {f"actor_train__training_args__{name}": value for name, value in values.items()}


def problems(path: Path) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        roll.load(path)
    return {problem.field: problem.message for problem in caught.value.problems}


def ours(imported: Imported) -> dict[str, Any]:
    return {entry.ours: entry.value for entry in imported.translated}


def told(remarks: list[roll.Remark], key: str) -> str:
    return next(remark.sentence for remark in remarks if remark.key == key)


def test_the_second_version_is_imported_whole(second: Path) -> None:
    imported = roll.load(second)
    config = imported.config
    assert validation.problems(config, check_files=False) == []
    model = config.model
    assert (model.model_name, model.trainable_models, model.extra_inputs) == ("wan2_2", ("dit2",), ("input_image",))
    assert model.dtype == "bfloat16" and model.use_gradient_checkpointing_offload
    assert (config.model.min_timestep_boundary, config.model.max_timestep_boundary) == (0.9, 1.0)
    sampling = config.sampling
    assert (sampling.num_inference_steps, sampling.mid_timestep, sampling.final_timestep) == (8, 4, 7)
    assert (sampling.shift, config.data.num_frames, config.data.max_pixels) == (5.0, 81, 480 * 480)
    reward = config.reward
    assert reward.roll_compatible and reward.kl_through_x and reward.kl_steps == "gradient"
    assert (reward.reward_weight, reward.reward_mean, reward.reward_std, reward.kl_weight) == (0.1, 0.54, 0.16, 1.0)
    lora = config.lora
    assert lora.lora_base_model == ("dit2",) and (lora.lora_rank, lora.lora_alpha) == (32, None)
    assert lora.lora_target_modules == ("q", "k", "v", "o", "ffn.0", "ffn.2")
    train = config.train
    assert (train.learning_rate, train.lr_scheduler_type, train.warmup_steps) == (2.5e-6, "constant", 10)
    assert (train.train_batch_size, train.num_train_epochs, train.max_steps, train.save_steps) == (8, 1, 100, 25)
    assert (train.max_grad_norm, train.weight_decay, train.seed) == (1.0, 0.0, 42)
    spread = config.deepspeed
    assert (spread.num_processes, spread.devices) == (8, ())
    assert (spread.zero_stage, spread.offload_optimizer, spread.offload_parameters) == (2, True, False)


def test_the_first_version_trains_all_weights_without_divergence(first: Path) -> None:
    imported = roll.load(first)
    config = imported.config
    assert config.lora.lora_base_model == ("none",)
    assert (config.reward.reward_weight, config.reward.kl_weight) == (0.01, 0.0)
    assert config.reward.roll_compatible and not config.reward.kl_through_x
    assert (config.deepspeed.num_processes, config.deepspeed.devices) == (2, ("2", "3"))
    assert (config.deepspeed.zero_stage, config.deepspeed.offload_optimizer) == (2, False)
    assert "first version" in told(imported.different, roll_keys.LORA_BASE)
    # Of its own file, which is there, what there is no setting for.
    assert "overlap_comm" in told(imported.no_effect, roll_keys.STRATEGY_CONFIG)


def test_what_is_left_out_has_the_defaults_of_roll(first: Path) -> None:
    changed(first, **training(per_device_train_batch_size=...), train_batch_size=32, save_steps=...)
    changed(first, **kwargs(use_gradient_checkpointing_offload=...))
    imported = roll.load(first)
    config = imported.config
    assert (config.train.per_device_train_batch_size, config.train.save_steps, config.train.max_steps) == (8, 50, 500)
    assert config.train.warmup_steps == 0 and not config.model.use_gradient_checkpointing_offload
    notes = {entry.ours: entry.note for entry in imported.translated}
    assert notes["train.save_steps"] == "left out, ROLL's default" and notes["train.seed"] == ""
    assert "first sample" in told(imported.different, f"{TRAINING}.per_device_train_batch_size")


@pytest.mark.parametrize("name", ["first", "second"])
def test_every_key_of_the_file_is_in_a_list(name: str, request: pytest.FixtureRequest) -> None:
    path = changed(
        request.getfixturevalue(name),
        **training(learning_rte=1.0, foo={"bar": 1}, adam_beta1=0.9, warmup_ratio=None),
        **kwargs(lora_alpha=64, own=None),
        made_up={"a": {"b": [1]}},
        actor_train__data_args__height=512,
    )
    imported = roll.load(path)
    listed = {entry.theirs for entry in imported.translated}
    listed |= {part for remark in (*imported.no_effect, *imported.different) for part in remark.key.split(", ")}

    def walk(content: dict[str, Any], above: str = "") -> None:
        for key, value in content.items():
            full = f"{above}{key}"
            if full not in listed:
                assert isinstance(value, dict) and value, f"{full} is in no list"
                walk(value, f"{full}.")

    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    del content["defaults"]
    walk(content)
    assert told(imported.no_effect, f"{TRAINING}.learning_rte").endswith("Did you mean learning_rate?")
    assert "always" in told(imported.no_effect, f"{roll_keys.DATA}.height")


def test_boundaries_were_read_and_passed_over(second: Path) -> None:
    imported = roll.load(changed(second, **kwargs(min_timestep_boundary=0.875)))
    sentence = told(imported.no_effect, f"{KWARGS}.min_timestep_boundary")
    assert "0.9" in sentence and "set it to 0.875" in sentence
    assert imported.config.model.min_timestep_boundary == 0.9


def test_the_configuration_that_comes_out_is_read_as_it_is(second: Path, tmp_path: Path) -> None:
    imported = roll.load(second)
    files.dump(imported.config, tmp_path / "ours.yaml")
    assert files.load(tmp_path / "ours.yaml", check_files=False) == imported.config
    for field, value in ours(imported).items():
        section, _, name = field.partition(".")
        stored = files.to_mapping(imported.config)[section][name]
        assert stored == value or float(stored) == float(value)


def test_relative_paths_are_those_of_roll(second: Path, tmp_path: Path) -> None:
    listing = tmp_path / "ROLL" / "examples" / "wan2.2-14B-reward_fl_ds" / "wan22_paths.json"
    listing.write_text("[]")
    config = roll.load(second).config
    assert config.model.model_paths == str(listing)
    assert config.data.metadata_path == str(tmp_path / "ROLL" / "data" / "example_video_dataset" / "metadata.csv")
    assert config.reward.reward_model_path == "/data/models/antelopev2/"


def test_a_file_that_lies_alone_is_imported(second: Path, tmp_path: Path) -> None:
    alone = shutil.copy(second, tmp_path / "mine.yaml")
    config = roll.load(alone).config
    assert (config.deepspeed.zero_stage, config.deepspeed.offload_optimizer) == (2, True)
    assert config.data.metadata_path == str(tmp_path / "data" / "example_video_dataset" / "metadata.csv")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("deepspeed_zero2", (2, False, False)),
        ("deepspeed_zero2_cpuoffload", (2, True, False)),
        ("deepspeed_zero3", (3, False, False)),
        ("deepspeed_zero3_cpuoffload", (3, True, True)),
        ("deepspeed_zero", (0, False, False)),
    ],
)
def test_deepspeed_configurations_by_name(second: Path, name: str, expected: tuple[int, bool, bool]) -> None:
    imported = roll.load(changed(second, actor_train__strategy_args__strategy_config=f"${{{name}}}"))
    spread = imported.config.deepspeed
    assert (spread.zero_stage, spread.offload_optimizer, spread.offload_parameters) == expected
    assert bool(expected[0] in (0, 3)) == any(r.key == roll_keys.STRATEGY_CONFIG for r in imported.different)


def test_a_file_beside_this_one_goes_before_the_name(second: Path, examples: Path) -> None:
    theirs = {"zero_optimization": {"stage": 1, "offload_optimizer": {"device": "none"}}, "fp16": {"enabled": True}}
    path = examples / "config" / "deepspeed_zero2_cpuoffload.yaml"
    path.write_text(yaml.safe_dump({"deepspeed_zero2_cpuoffload": theirs}))
    imported = roll.load(second)
    assert (imported.config.deepspeed.zero_stage, imported.config.deepspeed.offload_optimizer) == (1, False)
    assert "bfloat16" in told(imported.different, f"{roll_keys.STRATEGY_CONFIG}.fp16")
    assert roll_spreading.WELL_KNOWN["deepspeed_zero2_cpuoffload"]["zero_optimization"]["stage"] == 2


def test_what_depends_on_the_values_is_told(second: Path) -> None:
    changed(second, **training(lr_scheduler_type="cosine", num_train_epochs=3, warmup_steps=0, warmup_ratio=0.25))
    changed(second, **training(adam_beta2=0.95), **kwargs(final_timestep=6), max_ckpt_to_keep=3)
    imported = roll.load(second)
    assert imported.config.train.warmup_steps == 3  # a quarter of 100 // 8 updates
    assert (imported.config.train.num_train_epochs, imported.config.train.save_total_limit) == (1, 3)
    assert "max_steps / 8" in told(imported.different, f"{TRAINING}.lr_scheduler_type")
    assert "3 passes" in told(imported.different, roll_keys.EPOCHS)
    assert "noisy" in told(imported.different, f"{KWARGS}.final_timestep")
    assert "0.999" in told(imported.different, f"{TRAINING}.adam_beta2")


def test_several_machines_need_a_hostfile(second: Path) -> None:
    changed(second, actor_train__device_mapping="list(range(0,8)) + list(range(8, 16))", train_batch_size=16)
    imported = roll.load(second)
    assert (imported.config.deepspeed.num_processes, imported.config.deepspeed.devices) == (16, ())
    assert "hostfile" in told(imported.different, roll_keys.DEVICES)


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"train_batch_size": 6}, "train_batch_size", "= 8: set train_batch_size to 8"),
        ({"actor_train__device_mapping": "list(range(0,4))"}, "train_batch_size", "num_processes 4 = 4"),
        ({"actor_train__device_mapping": "__import__('os')"}, roll_keys.DEVICES, "is not of the form"),
        ({"actor_train__device_mapping": "list(range(0,10**12))"}, roll_keys.DEVICES, "is not of the form"),
        ({"actor_train__device_mapping": "list(range(0,999999))"}, roll_keys.DEVICES, "more than 4096"),
        ({"actor_train__device_mapping": "list(range(0,8,0))"}, roll_keys.DEVICES, "is not of the form"),
        ({"actor_train__device_mapping": "[0, 0]"}, roll_keys.DEVICES, "twice"),
        ({"actor_train__device_mapping": ...}, roll_keys.DEVICES, "It is missing"),
        (kwargs(model_name="wan2_1"), roll_keys.MODEL_NAME, "'wan2_1', but ROLL's Reward FL knew wan2_2 alone"),
        (kwargs(mid_timestep=None), f"{KWARGS}.mid_timestep", "needs a value"),
        (kwargs(mid_timestep=2), f"{KWARGS}.mid_timestep", "high-noise expert"),
        (kwargs(lora_base_model="dit"), f"{KWARGS}.lora_base_model", "name the same in both"),
        (kwargs(trainable_models="dit2,vae"), f"{KWARGS}.trainable_models", "vae cannot be trained"),
        (kwargs(extra_inputs=None), f"{KWARGS}.extra_inputs", "needs its first frame"),
        (training(learning_rate="fast"), f"{TRAINING}.learning_rate", "must be a number"),
        (training(learning_rate={"a": 1}), f"{TRAINING}.learning_rate", "must be a number"),
        (training(learning_rate="${nowhere}"), f"{TRAINING}.learning_rate", "there is no nowhere"),
        (training(warmup_ratio=2), f"{TRAINING}.warmup_ratio", "from 0 to 1"),
        ({"actor_train__training_args": 5}, TRAINING, "must hold settings"),
        ({"actor_train__training_args": "${gone}"}, TRAINING, "there is no gone"),
        ({"actor_train__strategy_args__strategy_config": "${deepspeed_zeor2}"}, roll_keys.STRATEGY_CONFIG, "mean deep"),
        ({"actor_train__strategy_args__strategy_config": 3}, roll_keys.STRATEGY_CONFIG, "DeepSpeed configuration"),
        ({"actor_train__strategy_args__strategy_name": "megatron_train"}, roll_keys.STRATEGY_NAME, "not Reward FL"),
        ({"actor_train__data_args__file_name": None}, f"{roll_keys.DATA}.file_name", "training clips are not named"),
    ],
)
def test_what_is_wrong_is_told_under_the_name_of_roll(
    second: Path, changes: dict[str, Any], field: str, words: str
) -> None:
    found = problems(changed(second, **changes))
    assert words in found[field]
    assert found[field].startswith("example_reward_fl.yaml") and len(found) <= 2


def test_the_line_is_told(second: Path) -> None:
    text = second.read_text().replace("learning_rate: 2.5e-6", "learning_rate: ${rates.low}")
    second.write_text(text)
    line = next(n for n, row in enumerate(text.splitlines(), 1) if "${rates.low}" in row)
    assert problems(second)[f"{TRAINING}.learning_rate"].startswith(f"example_reward_fl.yaml, line {line}: ")


@pytest.mark.parametrize(
    "content", ["", "a: 1", "- 1", "actor_train: 3", "actor_train: {}", "}", "a: !!python/object:x"]
)
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "other.yaml").write_text(content)
    with pytest.raises(ConfigError):
        roll.load(tmp_path / "other.yaml")


def test_references_are_followed_and_those_that_no_setting_needs_may_lead_nowhere(
    second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TENSORBOARD_DIR", raising=False)  # of tracker_kwargs.log_dir
    monkeypatch.setenv("DATA", "/clips")
    changed(second, rates={"base": 1.5e-6}, faces="antelopev2", pick="base")
    changed(second, **training(learning_rate="${rates.${pick}}", weight_decay="${.learning_rate}"))
    changed(second, **kwargs(reward_model_path="${oc.env:MODELS,/models}/${faces}"))
    changed(second, actor_train__data_args__file_name="${env:DATA}/metadata.csv", seed="${rates[base]}")
    changed(second, seed=42)
    config = roll.load(second).config
    assert config.train.learning_rate == config.train.weight_decay == 1.5e-6
    assert config.reward.reward_model_path == "/models/antelopev2"
    assert config.data.metadata_path == "/clips/metadata.csv"


def test_secrets_of_the_environment_stay_there(second: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "very secret value")
    changed(second, tracker_kwargs={"api_key": "0123456789abcdef"}, **kwargs(tokenizer_path="/x/${oc.env:MY_TOKEN}"))
    found = problems(second)
    assert "is a secret" in found[f"{KWARGS}.tokenizer_path"]
    assert "very secret" not in str(found) and "0123456789" not in str(found)


def _hydra(tmp_path: Path, **written: Any) -> hydra_file.HydraFile:
    """Files of a folder, `main` and those it names, as Hydra reads them."""
    folder = tmp_path / "runs"
    folder.mkdir(exist_ok=True)
    for name, content in written.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return hydra_file.read(folder / "main.yaml")


def test_defaults_are_merged_as_hydra_does(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "shared.yaml").write_text("shared: {a: 1, b: 1}\n")
    (tmp_path / "runs" / "db").mkdir(parents=True)
    (tmp_path / "runs" / "db" / "small.yaml").write_text("size: 1\n")
    read = _hydra(
        tmp_path,
        inner={"defaults": ["deeper@_here_.below"], "x": 1, "y": 1},
        deeper={"z": "${here.x}"},
        last={"w": 2, "shared": {"b": 3}},
        main={
            "defaults": [
                {"override hydra/job_logging": "none"},
                "../config/shared@_here_",
                "inner@here",
                {"db": "small"},
                {"optional missing": "no"},
                "_self_",
                "last@_global_",
            ],
            "shared": {"b": 2, "c": "${db.size}"},
            "here": {"y": 2},
            "w": 1,
        },
    )
    assert read.content == {
        "shared": {"a": 1, "b": 3, "c": 1},
        "here": {"below": {"z": 1}, "x": 1, "y": 2},
        "db": {"size": 1},
        "w": 2,
    }
    assert read.place("here.below.z") == "deeper.yaml, line 1" and read.place("gone") == "main.yaml"


@pytest.mark.parametrize(
    ("main", "words"),
    [
        ({"defaults": ["other"]}, "other is not there"),
        ({"defaults": ["/etc/passwd"]}, "is an absolute path"),
        ({"defaults": ["~/x"]}, "is an absolute path"),
        ({"defaults": ["../../outside"]}, "only files in"),
        ({"defaults": ["../other/x@_here_"]}, "only files in"),
        ({"defaults": ["link"]}, "is a link that leads out"),
        ({"defaults": ["folder_link/secret"]}, "is a link that leads out"),
        ({"defaults": ["../config/link@_here_"]}, "is a link that leads out"),
        ({"defaults": ["${oc.env:HOME}"]}, "is not of the form"),
        ({"defaults": [["a"]]}, "is not of the form"),
        ({"defaults": ["main"]}, "in a circle"),
        ({"defaults": "main"}, "must be a list"),
        ({"defaults": ["main@" + "a." * 30 + "a"]}, "sections deep"),
    ],
)
def test_files_are_read_in_their_places_alone(tmp_path: Path, main: dict[str, Any], words: str) -> None:
    for folder in ("config", "runs", "other"):
        (tmp_path / folder).mkdir()
    secret = tmp_path / "other" / "secret.yaml"
    secret.write_text("secret: 1\n")
    (tmp_path / "outside.yaml").write_text("secret: 1\n")
    (tmp_path / "runs" / "link.yaml").symlink_to(secret)
    (tmp_path / "runs" / "folder_link").symlink_to(secret.parent)
    (tmp_path / "config" / "link.yaml").symlink_to(secret)
    with pytest.raises(ConfigError, match=words):
        _hydra(tmp_path, main=main)


def test_files_that_name_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"main.yaml -> one.yaml -> two.yaml -> main.yaml"):
        _hydra(tmp_path, main={"defaults": ["one"]}, one={"defaults": ["two"]}, two={"defaults": ["main"]})
    many = {f"f{n}": {"defaults": [f"f{n + 1}", f"f{n + 1}"]} for n in range(12)}
    with pytest.raises(ConfigError, match="More than 50 files"):
        _hydra(tmp_path, main={"defaults": ["f0"]}, f12={"x": 1}, **many)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"a": "${a}"}, "a -> a goes round in a circle"),
        ({"a": "${b}", "b": "x${c}", "c": "${a}"}, "b -> c -> a -> b goes round"),
        ({"a": {"b": "${a}"}}, "goes round"),
        ({"a": "${.a}"}, "goes round"),
        ({"a": "${...b}"}, "leads out of the file"),
        ({"a": "${b.c}", "b": [1]}, "there is no b.c"),
        ({"a": "${"}, "is not closed"),
        ({"a": "${}"}, "nothing is no name"),
        ({"a": "${b..c}", "b": 1}, "is no name"),
        ({"a": "${now:%Y}"}, "is a function"),
        ({"a": "${oc.env:NOT_SET_ANYWHERE}"}, "is not set"),
        ({"a": "x${b}", "b": {"c": 1}}, "stands for several values"),
        ({"a": "${" * 1300 + "b" + "}" * 1300}, "nested more than"),
        ({"a": "${b}" * 2000, "b": "x"}, "longer than"),
    ],
)
def test_references_that_lead_nowhere(tmp_path: Path, values: dict[str, Any], reason: str) -> None:
    value: Any = _hydra(tmp_path, main=values).content["a"]
    while isinstance(value, dict):
        value = next(iter(value.values()))
    assert isinstance(value, hydra_file.Unresolved)
    assert reason in value.reason


def test_a_few_lines_do_not_stand_for_gigabytes(tmp_path: Path) -> None:
    lists = {f"v{n}": [f"${{v{n + 1}}}"] * 10 for n in range(12)}
    with pytest.raises(ConfigError, match="more than 20000 values"):
        _hydra(tmp_path, main={**lists, "v12": 1})
    texts = {f"v{n}": f"${{v{n + 1}}}" * 2 for n in range(60)}
    with pytest.raises(ConfigError, match="more than 20000 values"):
        _hydra(tmp_path, main={**texts, "v60": "x"})
    (tmp_path / "runs" / "main.yaml").write_text("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n")
    with pytest.raises(ConfigError, match="write the value itself"):
        hydra_file.read(tmp_path / "runs" / "main.yaml")
    (tmp_path / "runs" / "main.yaml").write_text("x" * 2**20)
    with pytest.raises(ConfigError, match="cannot be read"):
        hydra_file.read(tmp_path / "runs" / "main.yaml")


@given(
    st.recursive(
        st.none()
        | st.integers()
        | st.text("ab$ {}.:@_", max_size=12)
        | st.sampled_from(["${a}", "${b.a}", "${oc.env:A}"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        max_leaves=12,
    ),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from(["${a}", "${b}", "x${c.a}", 1, "\\${a}"])),
)
def test_any_references_are_resolved_or_told(content: Any, more: dict[str, Any]) -> None:
    resolved = References({"a": content, **more}, environment={}).resolved()
    assert set(resolved) == {"a", *more}


@given(st.integers(0, 50), st.integers(1, 60), st.integers(1, 4))
def test_ranges_of_devices_are_those_of_python(start: int, count: int, step: int) -> None:
    named = range(start, start + count, step)
    assert roll_spreading.device_numbers(f"list(range({start}, {start + count},{step}))") == list(named)
    assert roll_spreading.device_numbers(str(list(named))) == list(named)
    assert roll_spreading.device_numbers(list(named)) == list(named)


@given(st.text("list(range0123456789,[] +*)", max_size=30) | st.text(max_size=20))
def test_any_other_text_for_devices_is_refused(text: str) -> None:
    try:
        numbers = roll_spreading.device_numbers(text)
    except ValueError as error:
        assert str(error).endswith(".")
    else:
        assert numbers and len(set(numbers)) == len(numbers)


def test_the_import_needs_no_torch() -> None:
    code = "import sys; import rewardfl_app.config.roll; sys.exit('torch' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0
