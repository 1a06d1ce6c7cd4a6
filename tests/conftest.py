"""What holds for every test: a hub cache of its own, none of the user's settings, and the user's files untouched."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest

_FOLDERS = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")
EXAMPLES = Path(__file__).parents[1] / "examples"

pytest_plugins = ["tests.subsets", "tests.json_schema", "tests.hub.fixtures"]


def pytest_configure() -> None:
    """The hub is not turned off, and signals do what they do at a terminal. What a shell starts in the background has
    Ctrl-C ignored, what nohup starts a hang-up, and so would every process that the tests start: it inherits what is
    ignored. A function that does nothing is as good for this process, and is not inherited; for Ctrl-C it is Python's
    own, which mlxk looks for."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda number, frame: None)
    # A property that holds may take long on a busy machine.
    hypothesis.settings.register_profile("mlxk", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
    hypothesis.settings.load_profile("mlxk")
    # huggingface_hub looks at these once, when it is imported: too early for a fixture.
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        os.environ.pop(name, None)
    # Without bytecode on disk every process that the tests start compiles all of transformers: 5 s instead of 1.5 s.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


@pytest.fixture(autouse=True)
def _own_world(hub_cache: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither reads nor writes anything of the person who runs the tests."""
    for name in list(os.environ):
        if name.startswith("MLXK_") and not name.startswith("MLXK_TEST_"):
            monkeypatch.delenv(name)
        if name.lower().endswith("_proxy"):  # whoever the tests talk to listens on this machine
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("xdg")
    for kind in ("CACHE", "CONFIG", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(home / kind.lower()))
    monkeypatch.setenv("INPUTRC", os.devnull)  # editing-mode vi would draw another prompt


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user as in a container: no `HOME`, and no entry in the list of accounts."""

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "MLXK_CONFIG", *_FOLDERS):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def installed_examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the examples `mlxk-hello` and `mlxk-hello-format` installed; the environment itself has none."""
    folder = tmp_path_factory.mktemp("examples")
    uv = os.environ.get("UV") or shutil.which("uv")
    installer = (
        [uv, "pip", "install", "--no-sources", "--python", sys.executable]
        if uv
        else [sys.executable, "-m", "pip", "install"]
    )
    projects = sorted(path.parent for path in EXAMPLES.glob("mlxk-hello*/pyproject.toml"))
    command = [*installer, "--quiet", "--no-deps", "--target", folder, *projects]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def examples(installed_examples: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the example plugins visible to this process and those it starts."""
    monkeypatch.syspath_prepend(installed_examples)
    paths = [str(installed_examples), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    return installed_examples


def _users_cache() -> Path:
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def _traces(cache: Path) -> dict[str, int]:
    """Folders of the cache that change when something is written to it; links and blobs are not looked at."""
    patterns = ("", "*", "*/blobs", "*/snapshots", "*/snapshots/*", "*/refs")
    found = (path for pattern in patterns for path in (cache.glob(pattern) if pattern else [cache]))
    return {str(path): path.stat().st_mtime_ns for path in found if path.exists()}


_CACHE = _users_cache()
_BEFORE = _traces(_CACHE)


def pytest_sessionfinish(session: pytest.Session) -> None:
    changed = sorted(dict(_BEFORE.items() ^ _traces(_CACHE).items()))
    if changed:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter:
            reporter.write_line(f"\nThe tests touched the user's own hub cache: {', '.join(changed)}", red=True)
