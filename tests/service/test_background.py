"""`mlxk service`: units, and the calls of the operating system's service manager, which is a script here."""

import json
import os
import plistlib
import shutil
import subprocess
import sys

import pytest

from mlxk_service.definition import Definition
from mlxk_service.launchd import Launchd
from mlxk_testing.fixtures import run_in_process

linux = pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux")
MANAGER = """#!/bin/sh
echo "$(basename "$0") $*" >> "$CALLS"
case "$*" in
  *ActiveState*) printf 'ActiveState=%s\\nSubState=dead\\nMainPID=%s\\nUnitFileState=enabled\\n' "$STATE" "$PID" ;;
  "print gui/"*/*) [ -n "$STATE" ] || exit 113; printf '\\tstate = %s\\n\\tpid = 42\\n' "$STATE" ;;
esac
exit "${CODE:-0}"
"""


@pytest.fixture
def manager(tmp_path, monkeypatch):
    """Scripts in place of systemctl, journalctl and launchctl; `manager()` gives what they were called with."""
    calls = tmp_path / "calls"
    (tmp_path / "bin").mkdir()
    for name in ("systemctl", "journalctl", "launchctl"):
        (tmp_path / "bin" / name).write_text(MANAGER)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setenv("CALLS", str(calls))
    monkeypatch.setenv("STATE", "active")
    monkeypatch.setenv("PID", "42")
    return lambda: calls.read_text().splitlines() if calls.exists() else []


def service(*args):
    return run_in_process("service", *args)


@linux
def test_a_unit_is_valid_and_has_the_options_of_the_server(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", "/models of 100%")
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys").write_text("a-key-of-the-server\n")
    result = service("install", "--model", 'a $b "c"', "--print", "--api-key-file", "keys")
    assert "secret" not in result.stdout
    assert f"--api-key-file {tmp_path}/keys" in result.stdout
    unit = tmp_path / "mlxk.service"
    unit.write_text(result.stdout)
    if shutil.which("systemd-analyze"):
        checked = subprocess.run(
            ["systemd-analyze", "--user", "verify", unit],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        )
        assert (checked.returncode, checked.stderr) == (0, "")


@linux
def test_the_service_is_installed_looked_at_and_removed(manager, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    unit = tmp_path / "config" / "systemd" / "user" / "mlxk.service"
    assert json.loads(service("install", "--port", "9000", "--json").stdout)["data"]["path"] == str(unit)
    assert "serve --port 9000" in unit.read_text()
    assert "systemctl --user enable mlxk.service" in manager() and "systemctl --user restart mlxk.service" in manager()
    state = service("status", "--json").json["data"]
    assert (state["state"], state["pid"], state["enabled"]) == ("running", 42, True)
    monkeypatch.setenv("STATE", "failed")
    monkeypatch.setenv("PID", "0")
    failed = service("status")
    assert "failed" in failed.stdout and "service logs" in failed.stderr
    assert service("stop").code == 0 and "systemctl --user stop mlxk.service" in manager()
    assert service("logs", "-n", "5").code == 0 and "--lines 5" in manager()[-1]
    assert service("uninstall").code == 0 and not unit.exists()
    assert service("status").code == 1


@linux
def test_a_wrong_option_is_an_error_before_anything_is_written(manager, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("MLXK_API_KEY", "a-key-of-this-shell")  # which the service will not have
    together = (("--unix", "/tmp/x", "--port", "9"), ("--host", "0.0.0.0"), ("--api-key-file", "/none"))
    for options in (("--prot", "9"), ("--port", "x"), ("smollm2",), ("--reload",), *together):
        assert service("install", *options).code == 2
        assert service("install", "--print", *options).code == 2
    assert service("install", "--model", "org/missing", "--json").json["error"]["type"] == "model_not_found"
    assert os.environ["MLXK_API_KEY"]
    assert manager() == [] and not (tmp_path / "config").exists()


@linux
def test_a_machine_without_systemd_is_a_clear_error(manager, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("CODE", "1")
    assert service("install", "--json").json["error"]["type"] == "no_service_manager"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert service("install", "--json").json["error"]["type"] == "no_service_manager"
    assert not (tmp_path / "config").exists()


def test_a_launch_agent_is_a_valid_property_list(manager, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    agent = Launchd()
    definition = Definition(command=("/opt/mlxk", "serve", "--model", "a & b"), environment={"HF_HOME": "/m"})
    data = plistlib.loads(agent.unit(definition).encode())
    assert data["ProgramArguments"] == ["/opt/mlxk", "serve", "--model", "a & b"]
    assert data["EnvironmentVariables"] == {"HF_HOME": "/m"} and data["RunAtLoad"]
    assert agent.unit_path.is_relative_to(tmp_path / "Library" / "LaunchAgents")
    monkeypatch.setenv("STATE", "running")
    assert agent.state().state == "running" and agent.state().pid == 42
    agent.start()
    assert [call.split()[1] for call in manager()[-2:]] == ["bootout", "bootstrap"]
    monkeypatch.setenv("STATE", "")
    assert agent.state().state == "stopped"
