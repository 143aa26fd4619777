from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from rewardfl_app.rendering.store import Store
from rewardfl_app.runs import registry
from rewardfl_app.runs.folder import RunFolder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs" / ".cache"


def age(path: Path, seconds: float) -> None:
    used = path.stat().st_mtime - seconds
    os.utime(path, (used, used))


def test_what_was_put_is_found_bit_for_bit(root: Path) -> None:
    tensors = {
        "half": torch.randn(3, 4).bfloat16(),
        "turned": torch.randn(4, 3).T,
        "empty": torch.zeros(0, 0),
        "number": torch.tensor(float("nan")),
        "count": torch.arange(5),
    }
    Store(root).put("text", "k1", tensors, {"visible": [1, 2], "value": 0.1 + 0.2})
    found = Store(root).read("text", "k1")
    assert found is not None and found.meta == {"visible": [1, 2], "value": 0.1 + 0.2}
    assert set(found.tensors) == set(tensors)
    for name, tensor in tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name].nan_to_num(7), tensor.nan_to_num(7))


def test_kind_and_key_both_count(root: Path) -> None:
    store = Store(root)
    store.put("text", "k1", {"a": torch.ones(1)})
    assert store.has("text", "k1") and not store.has("text", "k2") and not store.has("condition", "k1")
    assert store.get("text", "k2") is None and store.get("condition", "k1") is None


@pytest.mark.parametrize("store", [Store(None), Store(Path("/nowhere/at/all"), 0.0)])
def test_switched_off_it_keeps_nothing(store: Store, tmp_path: Path) -> None:
    store.put("text", "k", {"a": torch.ones(1)})
    store.put_folder("baseline", "k", tmp_path)
    assert not store.is_on and store.limit_bytes == 0
    assert store.get("text", "k") is None and not store.has("text", "k") and store.folder("baseline", "k") is None


@pytest.mark.parametrize("harm", ["cut", "bit", "empty", "other"])
def test_a_damaged_file_is_absent_and_removed(root: Path, harm: str) -> None:
    store = Store(root)
    store.put("text", "k", {"a": torch.randn(100)})
    (path,) = (root / "text").iterdir()
    content = bytearray(path.read_bytes())
    if harm == "bit":
        content[-50] ^= 1
    path.write_bytes({"cut": content[:-7], "bit": content, "empty": b"", "other": b"not at all"}[harm])
    assert store.get("text", "k") is None and not path.exists()
    store.put("text", "k", {"a": torch.ones(2)})
    assert (store.get("text", "k") or {})["a"].shape == (2,)


def test_what_was_not_used_for_longest_goes_first(root: Path) -> None:
    store = Store(root, limit_gb=10e-6)  # 10 kB: three entries of 3 kB and their headers
    for number in range(3):
        store.put("text", f"k{number}", {"a": torch.zeros(750)})
        age(root / "text" / f"k{number}.safetensors", 100 - number)
    assert store.get("text", "k0") is not None  # now the one used last
    store.put("text", "k3", {"a": torch.zeros(750)})
    assert [store.has("text", f"k{number}") for number in range(4)] == [True, False, False, True]


def test_the_limit_holds_over_kinds_folders_and_processes(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "video.mp4").write_bytes(b"x" * 3000)
    for number in range(10):
        store = Store(root, limit_gb=20e-6)
        store.put("text" if number % 2 else "prefix", f"k{number}", {"a": torch.zeros(500)})
        store.put_folder("baseline", f"k{number}", source)
        total = sum(file.stat().st_size for file in root.rglob("*") if file.is_file())
        assert total <= 20_000
    assert store.has("text", "k9") and store.folder("baseline", "k9") is not None
    assert not [path for path in root.iterdir() if path.name.startswith(".")]


def test_what_is_larger_than_the_limit_is_not_kept(root: Path) -> None:
    store = Store(root, limit_gb=10e-6)
    store.put("text", "small", {"a": torch.zeros(10)})
    store.put("text", "large", {"a": torch.zeros(5000)})
    assert store.has("text", "small") and not store.has("text", "large")


def test_a_folder_comes_back_whole(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "00-clip").mkdir(parents=True)
    (source / "00-clip" / "video.mp4").write_bytes(b"one")
    store = Store(root)
    assert store.folder("baseline", "k") is None
    store.put_folder("baseline", "k", source)
    (source / "00-clip" / "video.mp4").write_bytes(b"two")
    store.put_folder("baseline", "k", source)  # the first one stays
    found = store.folder("baseline", "k")
    assert found is not None and (found / "00-clip" / "video.mp4").read_bytes() == b"one"


def test_many_writers_at_once(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(b"x" * 1000)

    def work(number: int) -> bool:
        store = Store(root, limit_gb=50e-6)
        for turn in range(20):
            store.put("text", f"k{turn % 5}", {"a": torch.full((500,), float(turn % 5))})
            store.put_folder("baseline", f"k{turn % 5}", source)
            found = store.get("text", f"k{(turn + number) % 5}")
            if found is not None and not bool((found["a"] == float((turn + number) % 5)).all()):
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert not [path for path in root.iterdir() if path.name.startswith(".writing")]


def test_a_killed_writer_leaves_nothing_that_is_found(root: Path) -> None:
    program = (
        "import os, sys, torch\n"
        "from pathlib import Path\n"
        "from rewardfl_app.rendering import store\n"
        "store.os.replace = lambda *_: os._exit(9)\n"
        "store.Store(Path(sys.argv[1])).put('text', 'k', {'a': torch.ones(3)})\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(root)], timeout=120)
    assert done.returncode == 9
    (left,) = [path for path in root.iterdir() if path.name.startswith(".writing")]
    assert Store(root).get("text", "k") is None
    age(left, 48 * 3600)
    Store(root).put("text", "k", {"a": torch.ones(3)})
    assert not left.exists() and Store(root).has("text", "k")


def test_a_disk_that_cannot_be_written_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "runs").write_text("a file where the folder should be")
    store = Store(tmp_path / "runs" / ".cache")
    store.put("text", "k", {"a": torch.ones(1)})
    store.put("text", "k", {"a": torch.ones(1)})
    assert store.get("text", "k") is None
    assert len(caplog.records) == 1 and "nothing more is kept" in caplog.text


def test_the_list_of_runs_does_not_see_it(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "one")
    Store(tmp_path / ".cache").put("text", "k", {"a": torch.ones(1)})
    assert [found.id for found in registry.list_runs(tmp_path)] == [run.id]
