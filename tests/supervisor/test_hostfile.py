from __future__ import annotations

import os
from pathlib import Path

import pytest

from rewardfl_app.supervisor import hostfile


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "hosts"
    path.write_text(text, encoding="utf-8")
    return path


def test_hosts_are_read_as_the_launcher_reads_them(tmp_path: Path) -> None:
    from deepspeed.launcher.runner import fetch_hostfile

    path = written(tmp_path, "# the cluster\nworker-0 slots=4\n\n  worker-1   slots=2 # old\n")
    assert hostfile.read(path) == {"worker-0": 4, "worker-1": 2} == dict(fetch_hostfile(str(path)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("worker-0 slots=4\nworker-1\n", "line 2 is not `host slots=N`"),
        ("worker-0 slots=0\n", "line 1 is not"),
        ("a slots=1\na slots=2\n", "line 2 names a again"),
        ("# nothing\n", "names no machine"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(hostfile.HostfileError, match=message):
        hostfile.read(written(tmp_path, text))


def test_what_is_no_plain_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path, Path("\x00")):
        with pytest.raises(hostfile.HostfileError, match="cannot be read"):
            hostfile.read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(hostfile.HostfileError, match="nothing cannot be read"):
        hostfile.read(tmp_path / "nothing")


def test_this_machine_is_known() -> None:
    assert hostfile.is_here({"localhost": 2})
    assert not hostfile.is_here({"localhost": 2, "worker-1": 2})
