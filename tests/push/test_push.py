"""Pushing a folder: offline checks, comparison, commits and errors."""

from __future__ import annotations

import signal
import sys

import pytest

from mlxk_testing import assert_light

NAME = "me/tiny"


@pytest.fixture
def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_push_is_off_unless_enabled(mlxk, folder):
    assert "push" not in mlxk("--help").stdout
    result = mlxk("push", str(folder), NAME)
    assert result.code == 2
    assert "MLXK_ENABLE_EXPERIMENTAL=push" in result.stderr
    assert "push" in mlxk("--help", env={"MLXK_ENABLE_EXPERIMENTAL": "other,all"}).stdout


def test_the_plugin_is_light():
    assert_light("mlxk_push.plugin")


def test_check_only_needs_neither_a_hub_nor_a_token(hub, push_here, folder):
    result = push_here(folder, NAME, "--check-only", "--json")
    assert result.code == 0, result
    assert result.json["data"]["status"] == "checked"
    assert result.json["data"]["problems"] == []
    assert not hub.requests


def test_check_only_names_everything_that_is_wrong(hub, push_here, folder):
    (folder / "config.json").write_text("{")
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (folder / "other.safetensors.incomplete").touch()
    result = push_here(folder, NAME, "--check-only", "--json")
    assert result.code == 1
    assert result.json["error"]["type"] == "broken_model"
    files = {problem["file"] for problem in result.json["data"]["problems"]}
    assert {"config.json", "model.safetensors", "other.safetensors.incomplete"} <= files
    assert not hub.requests


def test_a_broken_folder_is_not_pushed(hub, account, push, folder):
    (folder / "model.safetensors").write_bytes(b"short")
    assert push(folder, NAME, "--create").code == 1
    assert not hub.requests


@pytest.mark.parametrize("target", ["../id_rsa", "notes/.env"])
def test_a_link_to_a_secret_is_an_error_until_it_is_ignored(hub, push_here, folder, target):
    (folder.parent / "id_rsa").write_text("secret")
    (folder / "notes").mkdir()
    (folder / "notes" / ".env").write_text("secret")
    (folder / "LICENSE.txt").symlink_to(target)
    result = push_here(folder, NAME, "--check-only", "--json")
    assert result.code == 2 and "`LICENSE.txt`" in result.json["error"]["message"]
    (folder / ".hfignore").write_text("LICENSE.txt\n")
    assert push_here(folder, NAME, "--check-only").code == 0
    assert not hub.requests


def test_links_inside_of_the_folder_and_of_a_snapshot_are_followed(hub, push_here, folder):
    (folder / "LICENSE.txt").write_text("free")
    (folder / "COPYING.txt").symlink_to("LICENSE.txt")
    files = len(list(folder.iterdir()))
    assert push_here(folder, NAME, "--check-only", "--json").json["data"]["files"] == files
    repository = folder.parent / "models--me--tiny"
    snapshot = repository / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    folder.rename(repository / "blobs")
    for blob in (repository / "blobs").iterdir():
        (snapshot / blob.name).symlink_to(f"../../blobs/{blob.name}")
    assert push_here(snapshot, NAME, "--check-only", "--json").json["data"]["files"] == files


def test_a_new_repository_is_created_where_that_is_asked_for(hub, account, push, folder, contents):
    predicted = push(folder, NAME, "--create", "--dry-run", "--json").json["data"]
    assert predicted["creates_repository"] and predicted["added"] == sorted(contents)
    assert not hub.repositories
    result = push(folder, NAME, "--create", "--private", "--commit", "first", "--json")
    assert result.code == 0, result
    repository = hub.repositories[NAME]
    assert repository.private and repository.messages == ["first"]
    assert {name: repository.files()[name] for name in contents} == contents
    assert result.json["data"]["commit"] == repository.branches["main"]
    assert result.json["data"]["url"] == f"{hub.url}/{NAME}/commit/{repository.branches['main']}"


def test_only_what_differs_is_pushed_and_nothing_is_deleted(hub, account, push, folder, contents):
    repository = hub.add(NAME, {**contents, "config.json": b"{}", "notes.md": b"mine"}, allowed={"me"})
    (folder / "extra").mkdir()
    (folder / "extra" / "new.txt").write_text("new")
    predicted = push(folder, NAME, "--dry-run")
    assert predicted.code == 0
    assert predicted.stdout.splitlines()[:2] == ["new      extra/new.txt", "changed  config.json"]
    assert "Would push 1 new and 1 changed files (1 only on the hub, left alone)" in predicted.stdout
    assert not repository.messages
    result = push(folder, NAME, "--json")
    assert result.code == 0, result
    data = result.json["data"]
    assert (data["added"], data["modified"], data["only_on_hub"]) == (["extra/new.txt"], ["config.json"], ["notes.md"])
    assert repository.files() == {**contents, "notes.md": b"mine", "extra/new.txt": b"new"}
    assert not hub.asked("PUT /upload/"), "the weights are there already"


def test_no_change_means_no_commit(hub, account, push, folder, contents):
    repository = hub.add(NAME, contents, allowed={"me"})
    before = repository.branches["main"]
    result = push(folder, NAME)
    assert result.code == 0
    assert "is up to date; no commit was made" in result.stdout
    assert repository.branches["main"] == before and not hub.asked("POST")


@pytest.mark.parametrize(
    ("rule", "code"),
    [("config.json", "config_missing"), ("*.safetensors", "no_weights_found"), ("tokenizer*", "tokenizer_missing")],
)
def test_files_in_hfignore_do_not_count_for_completeness(push_here, folder, rule, code):
    (folder / ".hfignore").write_text(rule)
    result = push_here(folder, NAME, "--check-only", "--json")
    assert result.code == 1
    [problem] = result.json["data"]["problems"]
    assert problem["code"] == code and problem["message"].endswith(".hfignore leaves it out.")


def test_files_in_hfignore_are_not_uploaded(hub, account, push, folder, contents):
    repository = hub.add(NAME, contents, allowed={"me"})
    (folder / ".hfignore").write_text("# mine\n*.log\n/drafts/\n!keep.log\n")
    (folder / "drafts").mkdir()
    for name in ("a.log", "keep.log", "drafts/x.txt", ".DS_Store"):
        (folder / name).write_text("x")
    result = push(folder, NAME, "--json")
    assert result.code == 0, result
    assert result.json["data"]["added"] == ["keep.log"]
    assert sorted(repository.files()) == sorted([*contents, "keep.log"])


def test_hidden_files_are_never_uploaded(hub, account, push, folder, contents):
    repository = hub.add(NAME, contents, allowed={"me"})
    (folder / ".hfignore").write_text("!.env\n.quiet\n")
    for name in (".env", ".ssh/id", "deep/.netrc", ".aws/.gitattributes", ".quiet", ".gitattributes", "deep/a.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    result = push(folder, NAME, "--json")
    assert result.code == 0, result
    assert result.json["data"]["added"] == [".gitattributes", "deep/a.txt"]
    assert sorted(result.json["data"]["hidden"]) == [".aws/.gitattributes", ".env", ".ssh/id", "deep/.netrc"]
    assert sorted(repository.files()) == sorted([*contents, ".gitattributes", "deep/a.txt"])
    note = push(folder, NAME, "--check-only").stderr
    assert "4 hidden files are not uploaded" in note and "--check-only --json" in note


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no such names")
def test_a_name_that_is_not_utf_8_is_an_error_about_the_name(hub, account, push, push_here, folder):
    (folder / "a\udcff.txt").write_text("x")
    for result in (push(folder, NAME, "--json"), push_here(folder, NAME, "--check-only", "--json")):
        assert (result.code, result.json["error"]["type"]) == (2, "invalid_option")
        assert r"`a\xff.txt`" in result.json["error"]["message"] and "UTF-8" in result.json["error"]["message"]
    (folder / ".hfignore").write_bytes(b"a\xff*")
    assert push_here(folder, NAME, "--check-only").code == 0
    assert not hub.requests


def test_a_branch_is_created_where_that_is_asked_for(hub, account, push, folder, contents):
    repository = hub.add(NAME, contents, allowed={"me"})
    (folder / "new.txt").write_text("new")
    refused = push(folder, NAME, "--branch", "dev", "--json")
    assert refused.json["error"]["type"] == "revision_not_found"
    assert "Its branches: main." in refused.json["error"]["message"] and "--create" in refused.json["error"]["message"]
    assert push(folder, NAME, "--branch", "dev", "--create").code == 0
    assert "new.txt" in repository.files("dev") and "new.txt" not in repository.files("main")


@pytest.mark.parametrize(
    ("token", "reason", "words"),
    [
        (None, "no_token", "hf auth login"),
        ("hf_wrong", "bad_token", "does not accept the token"),
        ("hf_reader", "forbidden", "You don't have the rights to write"),
    ],
)
def test_refusals_say_which_case_it_is(hub, push, folder, contents, token, reason, words):
    hub.add(NAME, contents)
    hub.account("hf_reader", name="me", writes=False)
    result = push(folder, NAME, "--json", **({"HF_TOKEN": token} if token else {}))
    assert result.code == 1
    error = result.json["error"]
    assert (error["type"], error["details"]["reason"]) == ("access_denied", reason)
    assert words in error["message"] and "Nothing was changed on the hub." in error["message"]
    assert not hub.asked("POST")


def test_a_repository_that_is_not_there_wants_create(hub, account, push, folder):
    error = push(folder, NAME, "--json").json["error"]
    assert error["type"] == "not_on_hub"
    assert "--create" in error["message"]


def test_another_accounts_namespace_is_refused(hub, account, push, folder):
    error = push(folder, "them/tiny", "--create", "--json").json["error"]
    assert error["type"] == "access_denied"
    assert "under the namespace" in error["message"]
    assert not hub.repositories


def test_a_readme_the_hub_does_not_accept_is_an_error(hub, account, push, folder, contents):
    repository = hub.add(NAME, contents, allowed={"me"})
    (folder / "README.md").write_text("---\nlicense: [\n---\n")
    error = push(folder, NAME, "--json").json["error"]
    assert error["details"]["reason"] == "bad_readme"
    assert "unexpected end of the flow collection" in error["message"]
    assert not repository.messages


def test_a_commit_made_in_the_meantime_is_not_overwritten(hub, account, push, folder, contents):
    repository = hub.add(NAME, contents, allowed={"me"})
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    hub.answers_before("POST .*/preupload/", lambda: repository.commit({**contents, "theirs.txt": b"x"}))
    error = push(folder, NAME, "--json").json["error"]
    assert "A commit has happened since" in error["message"]
    assert "theirs.txt" in repository.files()


@pytest.mark.parametrize(
    "arguments",
    [
        ["tiny"],
        ["me/tiny", "--private"],
        ["me/tiny", "--commit", " "],
        ["me/tiny", "--check-only", "--dry-run"],
        *(["me/tiny", "--branch", name] for name in ("", "../x y", "a..b", "-x", "a b", "x.lock", "/x", "x/", "@")),
    ],
)
def test_impossible_arguments_are_wrong_usage(hub, push_here, folder, arguments):
    assert push_here(folder, *arguments).code == 2
    assert not hub.requests


def test_ctrl_c_stops_at_once_and_commits_nothing(hub, account, mlxk, push, folder, contents):
    repository = hub.add(NAME, {"config.json": b"{}"}, allowed={"me"})
    hub.hangs("PUT /upload/")
    process = mlxk.start("push", str(folder), NAME)
    assert hub.hanging.wait(120)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=180)
    assert process.returncode == 130
    assert "Nothing was committed." in shown
    assert not repository.messages
