"""A disk that fills in the middle of a pull: a small one of its own, in memory."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path

import pytest

MIB = 1 << 20
NAME = "org/large"


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    """`small_disk(32 * MIB)` mounts a disk of that size and puts HF_HOME on it."""
    mounted = []

    def mount(size, **options):
        folder = tmp_path / "disk"
        folder.mkdir()
        settings = ",".join(f"{name}={value}" for name, value in {"size": size, **options}.items())
        command = ["mount", "-t", "tmpfs", "-o", settings, "mlxk-test", str(folder)]
        if not shutil.which("mount") or subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("this user cannot mount a disk")
        mounted.append(folder)
        for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("HF_HOME", str(folder / "hf"))
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=False)


def fill(disk: Path, *, left: int = 0) -> None:
    """Another program fills the disk but for `left` bytes."""
    with (disk / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while left < (free := shutil.disk_usage(disk).free):  # the pull writes too
            file.write(bytes(min(free - left, MIB)))


def files(disk: Path) -> set[str]:
    return {path.name for path in (disk / "hf").rglob("*") if path.is_file() or path.is_symlink()}


@pytest.mark.parametrize(
    ("moment", "left"),
    [("/resolve/.*/model.safetensors", 8 * MIB), ("/resolve/.*/config.json", 0)],
    ids=["in the middle of the weights", "before the first file"],
)
def test_a_disk_that_fills_is_named_and_the_next_pull_goes_on(hub, mlxk, large, small_disk, moment, left):
    disk = small_disk(40 * MIB)
    hub.add(NAME, large)
    hub.answers_before(f"GET .*{moment}", lambda: fill(disk, left=left))
    result = mlxk("pull", NAME, "--json")
    error = result.json["error"]
    assert (result.code, error["type"], error["details"]["reason"]) == (1, "error", "disk_full")
    assert str(disk) in error["message"] and "HF_HOME" in error["message"]
    refused = mlxk("pull", NAME, "--json").json["error"]
    assert refused["type"] == "not_enough_disk"  # still full: said before anything is downloaded
    (disk / "ballast").unlink()
    before = len(hub.asked("GET /cdn/"))
    assert mlxk("pull", NAME).code == 0  # which checks the files
    resumed = hub.asked("GET /cdn/")[before:]
    assert not left or resumed[0].range  # what was saved is not downloaded again
    assert not [name for name in files(disk) if name.endswith((".incomplete", ".lock"))]


def test_a_disk_without_room_for_more_files_is_full_too(hub, mlxk, large, small_disk):
    disk = small_disk(40 * MIB, nr_inodes=12)
    hub.add(NAME, large)
    error = mlxk("pull", NAME, "--json").json["error"]
    assert (error["type"], error["details"]["reason"]) == ("error", "disk_full")
    assert str(disk) in error["message"]
