from __future__ import annotations

import os
from pathlib import Path

import pytest

from rewardfl_app.config.plain_file import open_plain, open_to_append, read_plain


def test_a_plain_file_is_read_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with open_to_append(path) as file:
        file.write(b"one")
    with open_to_append(path) as file:
        file.write(b"two")
    assert read_plain(path) == b"onetwo" and path.stat().st_mode & 0o777 == 0o644
    with pytest.raises(OSError, match="more than 5 bytes"):
        read_plain(path, 5)
    (tmp_path / "link").symlink_to(path)
    assert read_plain(tmp_path / "link") == b"onetwo"


def test_nothing_is_waited_for_and_no_link_is_written_through(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("elsewhere")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero", ".", "missing", "link", "a\0b", "x" * 300):
        with pytest.raises(OSError):
            open_plain(tmp_path / name)
    for name in ("pipe", "zero", ".", "link"):
        with pytest.raises(OSError):
            open_to_append(tmp_path / name)
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / "elsewhere").touch()
    with pytest.raises(OSError):
        open_plain(tmp_path / "link", follow=False)
