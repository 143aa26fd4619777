from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from rewardfl_app.runs import content


def test_the_order_of_keys_does_not_matter_and_every_value_does() -> None:
    assert content.digest({"a": 1, "b": [1.5, None]}) == content.digest({"b": (1.5, None), "a": 1})
    assert len({content.digest(value) for value in ({"a": 1}, {"a": 1.5}, {"a": "1"}, {"b": 1}, [1], 1, "ä", "a")}) == 8


@pytest.mark.parametrize("value", [float("nan"), {"a": float("inf")}])
def test_numbers_that_json_does_not_have_are_refused(value: object) -> None:
    with pytest.raises(ValueError):
        content.digest(value)


def test_a_path_is_not_content() -> None:
    with pytest.raises(TypeError):
        content.digest({"file": Path("x")})


def test_a_file_counts_by_its_content_alone(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"weights")
    two.write_bytes(b"weights")
    os.utime(two, (0, 0))
    assert content.file_digest(one) == content.file_digest(two) == hashlib.sha256(b"weights").hexdigest()
    two.write_bytes(b"weightS")
    assert content.file_digest(one) != content.file_digest(two)


def test_a_large_file_is_told_by_its_ends_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with open(path, "wb") as file:  # sparse: takes no room on disk
        file.truncate(content.WHOLE_BELOW_BYTES)
    seen = {content.file_digest(path)}
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    os.utime(path, ns=(1, 1))
    seen.add(content.file_digest(path))
    os.utime(path, ns=(2, 2))
    seen.add(content.file_digest(path))
    os.truncate(path, content.WHOLE_BELOW_BYTES + 1)
    os.utime(path, ns=(2, 2))
    seen.add(content.file_digest(path))
    assert len(seen) == 4


def test_a_folder_is_its_files_and_their_names(tmp_path: Path) -> None:
    for name in ("pack", "copy"):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "a.onnx").write_bytes(b"a")
        (tmp_path / name / "inner" / "b.txt").write_bytes(b"b")
    pack, copy = tmp_path / "pack", tmp_path / "copy"
    assert content.tree_digest(pack) == content.tree_digest(copy)
    (copy / ".lock").touch()
    assert content.tree_digest(pack) == content.tree_digest(copy)
    (copy / "inner" / "b.txt").write_bytes(b"c")
    assert content.tree_digest(pack) != content.tree_digest(copy)
    assert content.tree_digest(pack, ".onnx") == content.tree_digest(copy, ".onnx")
    (copy / "a.onnx").rename(copy / "b.onnx")
    assert content.tree_digest(pack, ".onnx") != content.tree_digest(copy, ".onnx")


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        content.file_digest(tmp_path / "gone")
