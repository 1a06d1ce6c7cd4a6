"""`mlxk rm`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pexpect
import pytest
from filelock import FileLock

from mlxk_core._models.in_use import InUseMark
from mlxk_core.api.commands import escape_control
from mlxk_testing import Processes, Result
from mlxk_testing.tiny_models import in_hub_cache, random_model

Ask = Callable[..., Result]


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


@pytest.fixture
def repository(hub_cache: Path) -> Path:
    """A repository with two revisions that share all files but the weights."""
    in_hub_cache("org/tiny", partial(random_model, seed=1), revision="1" * 40)
    in_hub_cache("org/tiny", partial(random_model, seed=2), revision="2" * 40)
    return hub_cache / "models--org--tiny"


def test_without_force_nothing_is_deleted_where_nobody_can_be_asked(
    ask: Ask, hub_cache: Path, repository: Path
) -> None:
    before = everything(hub_cache)
    for arguments in (["rm", "org/tiny"], ["rm", "org/tiny", "--json"]):
        result = ask(*arguments)
        assert result.code == 2 and everything(hub_cache) == before
    assert "org/tiny (2 revisions: 1111111, 2222222)" in ask("rm", "org/tiny").stderr and "-f" in result.stdout


def test_with_force_the_repository_goes_and_what_was_freed_is_said(ask: Ask, hub_cache: Path, repository: Path) -> None:
    in_hub_cache("org/other", partial(random_model, seed=1))
    other = everything(hub_cache / "models--org--other")
    stored = size(repository / "blobs")
    data = ask("rm", "org/tiny", "-f", "--json").json["data"]
    assert not repository.exists() and everything(hub_cache / "models--org--other") == other
    assert data["whole"] and data["revisions"] == ["1" * 40, "2" * 40]
    assert 0 <= data["freed_bytes"] - stored < 200  # the references take some bytes too
    assert ask("rm", "org/tiny", "-f").code == 1


def test_one_revision_means_one_revision(ask: Ask, repository: Path) -> None:
    weights = (repository / "snapshots" / ("1" * 40) / "model.safetensors").resolve()
    data = ask("rm", "org/tiny@1111", "-f", "--json").json["data"]
    assert data["revisions"] == ["1" * 40] and not data["whole"]
    assert not weights.exists()
    assert [path.name for path in (repository / "snapshots").iterdir()] == ["2" * 40]
    assert ask("health", "org/tiny").code == 0
    assert ask("rm", "org/tiny@1111", "-f", "--json").json["error"]["type"] == "revision_not_found"


def test_a_part_of_a_name_is_not_enough_where_nothing_is_asked(ask: Ask, hub_cache: Path) -> None:
    """A script that deletes one model twice must not take another one for it."""
    in_hub_cache("mlx-community/tiny", partial(random_model, seed=1))
    in_hub_cache("mlx-community/tiny-dwq", partial(random_model, seed=2))
    assert ask("rm", "Tiny", "-f").code == 0
    again = ask("rm", "tiny", "-f")
    assert again.code == 2 and "full name: `mlxk rm -f mlx-community/tiny-dwq`" in again.stderr
    assert ask("health", "tiny-dwq").code == 0


def test_a_repository_that_is_a_link_frees_nothing(ask: Ask, repository: Path, tmp_path: Path) -> None:
    elsewhere = repository.rename(tmp_path / "elsewhere")
    repository.symlink_to(elsewhere)
    data = ask("rm", "org/tiny", "-f", "--json").json["data"]
    assert data["freed_bytes"] == 0 and not repository.is_symlink() and (elsewhere / "blobs").is_dir()


def test_a_branch_names_its_revision(ask: Ask, repository: Path) -> None:
    text = ask("rm", "org/tiny@main", "-f").stdout
    assert "revision 2222222 of org/tiny" in text
    assert [path.name for path in (repository / "snapshots").iterdir()] == ["1" * 40]
    assert not (repository / "refs" / "main").exists()


def test_a_pipe_among_the_branches_holds_nothing_up(ask: Ask, repository: Path) -> None:
    os.mkfifo(repository / "refs" / "pipe")
    assert ask("rm", f"org/tiny@{'1' * 40}", "-f").code == 0
    assert [path.name for path in (repository / "snapshots").iterdir()] == ["2" * 40]


def test_the_same_commit_in_another_repository_is_left_alone(ask: Ask, hub_cache: Path) -> None:
    """huggingface_hub takes a commit for unique; in a copy or a fork it is not."""
    for name in ("org/copy-a", "org/copy-b", "org/copy-c"):
        in_hub_cache(name, random_model, revision="3" * 40)
    ask("rm", "org/copy-b", "-f")
    assert {path.name for path in hub_cache.iterdir()} == {"models--org--copy-a", "models--org--copy-c"}


def test_paths_and_variants_are_refused(ask: Ask, tmp_path: Path, repository: Path) -> None:
    folder = random_model(tmp_path / "mine")
    before = everything(tmp_path)
    for reference, word in ((str(folder), "path"), ("org/tiny:Q4_0", "whole revisions")):
        result = ask("rm", reference, "-f")
        assert result.code == 2 and word in result.stderr
    assert everything(tmp_path) == before and repository.exists()


def test_what_a_source_offers_is_refused(ask_with_smollm2: Ask) -> None:
    result = ask_with_smollm2("rm", "smollm2", "-f")
    assert result.code == 2 and "source smollm2" in result.stderr
    assert ask_with_smollm2("health", "smollm2").code == 0


def test_an_ambiguous_name_deletes_nothing(ask: Ask, hub_cache: Path) -> None:
    for name in ("org/a-tiny", "org/b-tiny"):
        in_hub_cache(name, random_model)
    assert ask("rm", "tiny", "-f").code == 1
    assert len(list(hub_cache.iterdir())) == 2


@pytest.mark.parametrize("left", ["blobs", "dangling reference", "dangling links", "references only"])
def test_a_half_done_deletion_can_be_run_again(ask: Ask, repository: Path, left: str) -> None:
    for snapshot in (repository / "snapshots").iterdir():
        if left == "blobs" or left == "references only":
            for link in sorted(snapshot.rglob("*"), reverse=True):
                link.unlink()
            snapshot.rmdir()
    if left == "dangling links":
        for blob in (repository / "blobs").iterdir():
            blob.unlink()
    if left == "references only":
        for blob in (repository / "blobs").iterdir():
            blob.unlink()
        (repository / "snapshots").rmdir()
    if left == "dangling reference":
        (repository / "refs" / "main").write_text("4" * 40)
    result = ask("rm", "org/tiny", "-f")
    assert result.code == 0, result.stderr
    assert not repository.exists()


def test_one_revision_of_a_damaged_repository_leaves_the_other_whole(ask: Ask, repository: Path) -> None:
    (repository / "refs" / "old").write_text("5" * 40)
    result = ask("rm", "org/tiny@1111111", "-f", "--json")
    assert result.json["data"]["freed_bytes"] > 100_000
    assert [path.name for path in (repository / "snapshots").iterdir()] == ["2" * 40]
    assert ask("health", "org/tiny").code == 0


def test_blobs_in_the_store_that_repositories_share_stay_while_another_needs_them(ask: Ask, hub_cache: Path) -> None:
    snapshots = [in_hub_cache(name, random_model) for name in ("org/a", "org/b")]
    store = hub_cache / "blobs"
    shared = store / "ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    (store / ".huggingface-shared-blobs").write_text("1\n")
    for snapshot in snapshots:
        blob = (snapshot / "model.safetensors").parent / (snapshot / "model.safetensors").readlink()
        blob = Path(os.path.normpath(blob))
        if not shared.exists():
            blob.rename(shared)
        else:
            blob.unlink()
        blob.symlink_to(os.path.relpath(shared, blob.parent))
        manifest = shared.with_name(shared.name + ".refs")
        with manifest.open("a") as file:
            file.write(blob.relative_to(hub_cache).as_posix() + "\n")
    first = ask("rm", "org/a", "-f", "--json").json["data"]["freed_bytes"]
    assert shared.exists() and first < shared.stat().st_size
    assert ask("health", "org/b").code == 0
    stored = shared.stat().st_size
    assert ask("rm", "org/b", "-f", "--json").json["data"]["freed_bytes"] > stored
    assert not shared.exists()


def test_a_running_download_is_told_about(ask: Ask, hub_cache: Path, repository: Path) -> None:
    folder = hub_cache / ".locks" / "models--org--tiny"
    folder.mkdir(parents=True)
    (folder / "left-behind.lock").touch()
    with FileLock(folder / "held.lock"):
        refused = ask("rm", "org/tiny", "-f", "--json") if os.name == "nt" else ask("rm", "org/tiny")
        assert refused.code == 1 and "held.lock is locked" in refused.stderr and repository.exists()
        forced = ask("rm", "org/tiny", "-f")
        assert forced.code == 0 and "held.lock is locked" in forced.stderr
    assert not repository.exists()


def test_locks_that_were_left_behind_go_with_the_repository(ask: Ask, hub_cache: Path, repository: Path) -> None:
    folder = hub_cache / ".locks" / "models--org--tiny"
    folder.mkdir(parents=True)
    (folder / "left-behind.lock").touch()
    assert ask("rm", "org/tiny", "-f", "--json").json["data"]["locks_removed"] == 1
    assert not folder.exists()


def test_what_cannot_be_deleted_is_an_error(bound: Ask, repository: Path) -> None:
    repository.chmod(0o500)
    try:
        result = bound("rm", "org/tiny", "-f")
    finally:
        repository.chmod(0o700)
    assert result.code == 1 and "deleted in part" in result.stderr and "ermission denied" in result.stderr


def test_several_models_are_deleted_at_once_or_none(ask: Ask, hub_cache: Path) -> None:
    for name in ("org/a", "org/b", "org/c"):
        in_hub_cache(name, random_model)
    assert ask("rm", "org/a", "org/nope", "-f").code == 1 and len(list(hub_cache.iterdir())) == 3
    data = ask("rm", "org/a", "org/b", "-f", "--json").json["data"]
    assert [each["model"] for each in data["models"]] == ["org/a", "org/b"]
    assert [path.name for path in hub_cache.iterdir()] == ["models--org--c"]


def test_files_that_macos_adds_to_another_repository_do_not_matter(ask: Ask, hub_cache: Path, repository: Path) -> None:
    """On exFAT macOS keeps extended attributes in files that begin with `._`."""
    in_hub_cache("org/other", random_model)
    for name in ("org--other", "org--tiny"):
        (hub_cache / f"models--{name}" / "refs" / "._main").write_bytes(b"\0\x05\x16\x07\0\x02\0\0Mac OS X \xb0\xb0")
    assert ask("rm", "org/tiny@1111111", "-f").code == 0
    assert ask("rm", "org/tiny", "-f").code == 0 and not repository.exists()
    assert ask("health", "org/other").code == 0


def test_deleting_twice_at_once_succeeds_twice(mlxk: Processes, hub_cache: Path) -> None:
    snapshot = in_hub_cache("org/many", random_model)
    for number in range(3000):
        (snapshot / f"{number}.txt").touch()
    runs = [mlxk.start("rm", "org/many", "-f") for _ in range(2)]
    shown = [run.communicate(timeout=180)[1] for run in runs]
    # One that starts when the other has finished finds no model; it must not fail in any other way.
    assert any(run.returncode == 0 for run in runs), shown
    assert all(run.returncode == 0 or "not found" in text for run, text in zip(runs, shown, strict=True)), shown
    assert not (hub_cache / "models--org--many").exists()


def test_a_model_in_use_is_deleted_only_with_force(ask: Ask, repository: Path) -> None:
    mark = InUseMark(repository / "snapshots" / ("2" * 40))
    refused = ask("rm", "org/tiny")
    assert refused.code == 1 and "is in use" in refused.stderr and repository.exists()
    mark.end()
    assert "This would delete" in ask("rm", "org/tiny").stderr
    mark = InUseMark(repository / "snapshots" / ("2" * 40))
    assert ask("rm", "org/tiny", "-f").code == 0
    mark.end()


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("\n", 1), ("\x04", 130)], ids=["yes", "no answer", "Ctrl-D"])
def test_on_a_terminal_it_asks(mlxk: Processes, repository: Path, answer: str, code: int) -> None:
    program, *arguments = mlxk.command("rm", "tiny")
    terminal = pexpect.spawn(program, arguments, encoding="utf-8", timeout=180, dimensions=(24, 80))
    terminal.expect(re.escape("Delete org/tiny (2 revisions: 1111111, 2222222)"))
    terminal.expect(r"\[y/N\]")
    terminal.send(answer)
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert ("Nothing was deleted." in terminal.before) == (code != 0)
    assert (terminal.exitstatus, repository.exists()) == (code, code != 0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="macOS has no such names")
@pytest.mark.parametrize("name", ["\udcff\udcfe", "a\nb", "\x1b[31m"], ids=["bytes", "lines", "escape"])
def test_any_name_of_a_folder_is_listed_and_removed(ask: Ask, hub_cache: Path, name: str) -> None:
    in_hub_cache("org/tiny", random_model)
    (hub_cache / "models--org--tiny").rename(hub_cache / f"models--org--{name}")
    listed = ask("list", "--all", "--json")
    assert listed.stdout.isascii()
    assert [model["name"] for model in listed.json["data"]["models"]] == [f"org/{name}"]
    for command in ("show", "health"):
        assert ask(command, f"org/{name}", "--json").code == 0
    if name.isascii():
        assert escape_control(f"org/{name}") in ask("rm", "-f", f"org/{name}").stdout
    else:
        assert ask("rm", "-f", f"org/{name}", "--json").code == 0
    assert not [each for each in hub_cache.iterdir() if each.name.startswith("models--")]
