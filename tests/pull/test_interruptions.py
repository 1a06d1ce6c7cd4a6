"""Interrupted downloads: lost connections, errors in the middle, Ctrl-C, kill, and two at a time."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

NAME = "org/large"
FOLDER = "models--org--large"


@pytest.fixture
def repository(hub, large):
    return hub.add(NAME, large)


def until(condition, seconds=120):
    """Wait for something to become true, and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def children(pid):
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [int(row[0]) for row in rows if int(row[1]) == pid and not row[2].startswith("Z")]


def runs(pid):
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.strip().startswith("Z")


@pytest.fixture
def midway(hub, repository, mlxk, hub_cache):
    """A pull that is in the middle of its weights, with its child."""
    return caught(hub, mlxk, hub_cache)


def caught(hub, mlxk, hub_cache):
    hub.stalls("GET /cdn/", after=12 << 20)
    pull = mlxk.start("pull", NAME)
    until(lambda: any(size(part) >= 10 << 20 for part in hub_cache.glob(f"{FOLDER}/blobs/*.incomplete")))
    return pull, children(pull.pid)


def locks(hub_cache):
    return list((hub_cache / ".locks" / FOLDER).glob("*.lock"))


def size(path):
    try:
        return path.stat().st_size
    except FileNotFoundError:  # a small file whose part has become the whole
        return 0


def test_a_cut_connection_is_resumed(hub, repository, mlxk, snapshot, large):
    hub.cuts("GET /cdn/", after=15 << 20)
    result = mlxk("pull", NAME)
    assert result.code == 0, result
    assert [request.range for request in hub.asked("GET /cdn/")] == [None, f"bytes={15 << 20}-"]
    assert snapshot(NAME, repository.branches["main"]) == large
    assert "Connection lost." in result.stderr


def test_a_reset_connection_and_a_server_without_ranges_start_over(hub, repository, mlxk, snapshot, large):
    hub.cuts("GET /cdn/", after=15 << 20, reset=True)
    hub.cuts("GET /cdn/", after=12 << 20)
    hub.ignores_ranges("GET /cdn/")
    result = mlxk("pull", NAME)
    assert result.code == 0, result
    assert snapshot(NAME, repository.branches["main"]) == large


def test_server_errors_and_an_expired_signed_address_are_retried(hub, repository, mlxk, snapshot, large):
    hub.fails("GET /cdn/", 503, times=1)
    hub.fails("GET /cdn/", 403, times=1)
    hub.fails("GET /org/large/resolve/.*config.json", 429, times=1, headers={"Retry-After": "0"})
    assert mlxk("pull", NAME).code == 0
    assert snapshot(NAME, repository.branches["main"]) == large


@pytest.mark.parametrize(
    ("status", "type"), [(404, "hub_unavailable"), (403, "access_denied"), (500, "hub_unavailable")]
)
def test_a_file_that_is_refused_after_the_preflight_is_named_and_the_rest_is_kept(
    hub, repository, mlxk, hub_cache, status, type
):
    hub.fails("/resolve/.*/model.safetensors", status, headers={"Retry-After": "0"})
    hub.answers_before(
        "/resolve/.*/model.safetensors", lambda: until(lambda: set(hub_cache.glob("*/blobs/*")) - parts(hub_cache))
    )
    result = mlxk("pull", NAME, "--json")
    error = result.json["error"]
    assert (result.code, error["type"], error["details"]["status"]) == (1, type, status)
    assert error["details"]["file"] == "model.safetensors" and "model.safetensors" in error["message"]
    assert "does not exist" not in error["message"]
    assert re.search(r"\d of 5 files are saved", error["message"])


def test_a_file_too_large_for_the_disk_is_named(repository, mlxk, hub_cache):
    limited = ["sh", "-c", 'ulimit -f 4096; exec "$@"', "sh", *mlxk.command("pull", NAME, "--json")]
    result = subprocess.run(limited, capture_output=True, text=True, check=False, timeout=120)
    error = json.loads(result.stdout)["error"]
    assert (result.returncode, error["type"], error["details"]["reason"]) == (1, "error", "file_too_large")
    assert str(hub_cache) in error["message"] and "4 GB" in error["message"] and "HF_HOME" in error["message"]


def test_an_unreachable_xet_storage_is_named(hub, repository, mlxk):
    hub.xet_url = "http://127.0.0.1:9"
    few = {"HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "1", "HF_XET_CLIENT_RETRY_BASE_DELAY": "10ms"}
    error = mlxk("pull", NAME, "--json", env={"HF_XET_HIGH_PERFORMANCE": "1", **few}).json["error"]
    assert (error["type"], error["details"]["reason"]) == ("hub_unavailable", "xet")
    assert "HF_XET_HIGH_PERFORMANCE" in error["message"] and "Task error" not in error["message"]
    assert mlxk("pull", NAME).code == 0, "HTTP needs no Xet storage"


def test_ctrl_c_stops_at_once_and_the_next_pull_resumes(midway, repository, hub, mlxk, hub_cache, snapshot, large):
    pull, of_pull = midway
    pull.send_signal(signal.SIGINT)
    _, shown = pull.communicate(timeout=180)
    assert pull.returncode == 130
    assert len(hub.asked("GET /cdn/")) == 1
    assert re.search(r"Stopped\. \d of 5 files are saved, and part of model\.safetensors\.", shown)
    assert of_pull and not [pid for pid in of_pull if runs(pid)]
    assert not locks(hub_cache)
    assert (hub_cache / ".locks" / FOLDER).is_dir()  # another program may wait for one of these locks
    saved = size(*parts(hub_cache))

    listed = mlxk("list", "--all")
    assert "unfinished" in mlxk("health", NAME).stdout and NAME in listed.stdout
    result = mlxk("pull", NAME)
    assert result.code == 0, result
    assert hub.asked("GET /cdn/")[-1].range == f"bytes={saved}-"
    assert re.search(r"Downloading org/large .*: \d\.\d MB to download, 1\d\.\d MB already here", result.stderr)
    assert snapshot(NAME, repository.branches["main"]) == large
    assert not parts(hub_cache) and not locks(hub_cache)


def test_a_pull_whose_progress_is_no_longer_read_stops(hub, repository, mlxk, hub_cache):
    hub.stalls("GET /cdn/", after=12 << 20)
    pull = mlxk.start("pull", NAME, "--json", "--progress-json")
    until(lambda: any(size(part) >= 10 << 20 for part in parts(hub_cache)))
    of_pull = children(pull.pid)
    pull.stderr.close()  # as by a server that is killed
    assert pull.wait(180) == 130
    assert of_pull and not [pid for pid in of_pull if runs(pid)]
    assert parts(hub_cache) and not locks(hub_cache)


def test_a_killed_pull_leaves_no_process_and_the_next_pull_resumes(
    midway, repository, hub, mlxk, hub_cache, snapshot, large
):
    pull, of_pull = midway
    pull.kill()
    pull.communicate(timeout=180)
    assert of_pull
    until(lambda: not [pid for pid in of_pull if runs(pid)])
    until(lambda: not locks(hub_cache))
    saved = size(*parts(hub_cache))
    assert mlxk("pull", NAME).code == 0
    assert hub.asked("GET /cdn/")[-1].range == f"bytes={saved}-"
    assert snapshot(NAME, repository.branches["main"]) == large


def test_a_damaged_partial_file_is_noticed_by_its_checksum(hub, repository, mlxk, hub_cache, snapshot, large):
    from tests.hub.server import sha256

    part = hub_cache / FOLDER / "blobs" / f"{sha256(large['model.safetensors'])}.incomplete"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(12 << 20))
    assert mlxk("pull", NAME).code == 0
    assert [request.range for request in hub.asked("GET /cdn/")] == [f"bytes={12 << 20}-", None]
    assert snapshot(NAME, repository.branches["main"]) == large


def test_a_partial_file_longer_than_the_file_starts_over(hub, repository, mlxk, hub_cache, snapshot, large):
    from tests.hub.server import sha256

    part = hub_cache / FOLDER / "blobs" / f"{sha256(large['model.safetensors'])}.incomplete"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(20 << 20))
    assert mlxk("pull", NAME).code == 0
    assert [request.range for request in hub.asked("GET /cdn/")] == [None]
    assert snapshot(NAME, repository.branches["main"]) == large


def test_a_variant_does_not_remove_the_partial_file_of_another(hub, mlxk, hub_cache):
    hub.add("org/gguf", {"m-Q4_0.gguf": b"GGUF" * 10, "m-Q8_0.gguf": b"GGUF" * 20})
    part = hub_cache / "models--org--gguf" / "blobs" / f"{'a' * 64}.incomplete"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"GGUF")
    mlxk("pull", "org/gguf:Q4_0")
    assert part.exists()


def test_ctrl_c_before_anything_is_complete_leaves_no_repository(hub, repository, mlxk, hub_cache):
    hub.hangs("HEAD .*/resolve/")
    pull = mlxk.start("pull", NAME, "--json")
    until(lambda: hub.asked("/tree/")[1:] and (hub_cache / FOLDER / "trees").is_dir())
    pull.send_signal(signal.SIGINT)
    answer, _ = pull.communicate(timeout=180)
    assert pull.returncode == 130
    assert json.loads(answer)["error"]["type"] == "interrupted"
    assert "Nothing was kept." in json.loads(answer)["error"]["message"]
    assert not (hub_cache / FOLDER).exists() and not (hub_cache / ".locks" / FOLDER).exists()


def test_ctrl_c_in_the_preflight_writes_nothing(hub, repository, mlxk, listing):
    before = listing()
    hub.hangs("/auth-check")
    pull = mlxk.start("pull", NAME)
    assert hub.hanging.wait(120)
    pull.send_signal(signal.SIGINT)
    _, told = pull.communicate(timeout=180)
    assert pull.returncode == 130
    assert "Nothing was written." in told
    assert listing() == before


def test_an_update_that_is_stopped_leaves_the_old_revision_in_use(hub, repository, large, mlxk, hub_cache, cached):
    old = cached(repository)
    repository.commit({**large, "model.safetensors": large["model.safetensors"][:-1] + b"\x01"})
    pull, _ = caught(hub, mlxk, hub_cache)
    pull.send_signal(signal.SIGINT)
    pull.communicate(timeout=180)
    assert (hub_cache / FOLDER / "refs" / "main").read_text() == old
    assert mlxk("health", NAME).code == 0


@pytest.mark.parametrize("moment", ["HEAD /org/large/resolve/", "GET /org/large/resolve/"])
def test_a_pull_that_is_stopped_without_a_file_does_not_harm_the_one_beside_it(
    hub, repository, mlxk, snapshot, hub_cache, large, moment
):
    hub.account("hf_other")
    hub.hangs("HEAD .*/resolve/", token="hf_other")
    first, codes = threading.Lock(), []

    def stop_another():
        with first:  # what else comes at this moment waits until the other pull has removed its folders
            if not codes:
                other = mlxk.start("pull", NAME, env={"HF_TOKEN": "hf_other"})
                hub.hanging.wait(120)
                other.send_signal(signal.SIGINT)
                other.communicate(timeout=180)
                codes.append(other.returncode)

    for _ in large:
        hub.answers_before(moment, stop_another)
    result = mlxk("pull", NAME)
    assert (result.code, codes) == (0, [130]), result
    assert snapshot(NAME, repository.branches["main"]) == large
    assert (hub_cache / FOLDER / "refs" / "main").read_text() == repository.branches["main"]


def test_a_step_is_taken_again_when_its_folder_vanishes_and_not_for_an_error_of_the_hub(tmp_path):
    from huggingface_hub.errors import LocalEntryNotFoundError

    from mlxk_pull.cleanup import despite_cleanups

    tries = []

    def step(*, appears_at):
        tries.append(None)
        if len(tries) == appears_at:
            (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "file").touch()

    despite_cleanups(lambda: step(appears_at=3))
    assert len(tries) == 3
    (tmp_path / "folder" / "file").unlink()
    (tmp_path / "folder").rmdir()
    with pytest.raises(FileNotFoundError):
        despite_cleanups(lambda: step(appears_at=None))
    tries.clear()

    def missing_on_the_hub():
        tries.append(None)
        raise LocalEntryNotFoundError("The hub has no such file.")

    with pytest.raises(LocalEntryNotFoundError):
        despite_cleanups(missing_on_the_hub)
    assert len(tries) == 1


def test_two_pulls_of_one_model_download_it_once(hub, repository, mlxk, snapshot, large, hub_cache):
    hub.chunk, hub.pause = 4 << 20, 0.1
    results = []
    pulls = [threading.Thread(target=lambda: results.append(mlxk("pull", NAME))) for _ in range(2)]
    for pull in pulls:
        pull.start()
    for pull in pulls:
        pull.join()
    assert [result.code for result in results] == [0, 0], results
    assert (hub_cache / ".locks" / FOLDER).is_dir()
    assert len(hub.asked("GET /cdn/")) == 1
    assert snapshot(NAME, repository.branches["main"]) == large


def test_partial_files_that_another_program_writes_are_left_alone(tmp_path):
    from filelock import FileLock

    from mlxk_pull.cleanup import remove_partial_files

    blobs, locks = tmp_path / "blobs", tmp_path / "locks"
    for folder in (blobs, locks):
        folder.mkdir()
    for digest in ("aa", "bb", "cc"):
        (blobs / f"{digest}.12345678.incomplete").touch()
    (blobs / "dd.incomplete").write_bytes(b"started")
    (locks / "bb.lock").touch()
    with FileLock(locks / "aa.lock"):
        assert remove_partial_files(blobs, locks) == 2
    assert sorted(part.name for part in blobs.iterdir()) == ["aa.12345678.incomplete", "dd.incomplete"]


def test_force_downloads_everything_again_and_a_log_gets_lines_that_count_it_once(hub, repository, mlxk, cached):
    cached(repository)
    hub.chunk, hub.pause = 4 << 20, 0.1
    result = mlxk("pull", NAME, "--force")
    assert re.search(r"org/large: \d+\.\d MB of 16\.8 MB \(\d+%\), .*/s, \d+ s left", result.stderr), result.stderr
    assert "\r" not in result.stderr and "\x1b" not in result.stderr
    assert len(hub.asked("GET /cdn/")) == 1


HALF = re.compile(r"org/quite-long-name-.*1\d\.\d/16\.8 MB .*[kM]B/s")


def parts(cache):
    return set(cache.glob("*/blobs/*.incomplete"))


def plain(seen):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode(errors="replace"))


def test_a_terminal_gets_one_bar_in_bytes_with_speed_and_the_time_left(hub, large, mlxk):
    name = "org/" + "quite-long-name-" * 4 + "4bit"
    hub.add(name, large)
    hub.chunk, hub.pause = 2 << 20, 0.3  # there is a speed once bytes have come twice
    go_on = hub.stalls("GET /cdn/", after=12 << 20)
    ours, theirs = pty.openpty()
    os.set_inheritable(theirs, True)
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    process = subprocess.Popen(mlxk.command("pull", name), stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 65536):
            seen += chunk
            if HALF.search(plain(seen)):
                go_on.set()
    except OSError:
        pass  # Linux' way to say that the other side has closed
    finally:
        os.close(ours)
    assert process.wait(timeout=180) == 0
    text = plain(seen)
    assert HALF.search(text), text
    assert "Fetching" not in text and "it/s" not in text


def test_pulls_that_end_at_the_same_time_write_one_reference(hub_cache):
    script = (
        "from mlxk_pull.local_state import LocalRepository\n"
        "for n in range(300): LocalRepository.of('org/large').write_ref('main', f'{n % 2}' * 40)"
    )
    at_once = [subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE) for _ in range(4)]
    told = [process.communicate()[1] for process in at_once]
    assert [process.returncode for process in at_once] == [0] * 4, told
    [references] = hub_cache.glob("**/models--org--large/refs")
    assert [(file.name, file.read_text()) for file in references.iterdir()] == [("main", "1" * 40)]
