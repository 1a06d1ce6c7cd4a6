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


@linux
@pytest.mark.parametrize("value", ["/models \udcff", "/models\nExecStartPre=/bin/false"])
def test_an_installation_that_fails_leaves_the_unit_as_it_was(manager, tmp_path, monkeypatch, value):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert service("install").code == 0
    unit = tmp_path / "config" / "systemd" / "user" / "mlxk.service"
    before = unit.read_text()
    monkeypatch.setenv("HF_HOME", value)
    for options in ((), ("--print",)):
        failed = service("install", *options, "--json")
        assert (failed.code, failed.json["error"]["type"]) == (2, "invalid_option")
    monkeypatch.delenv("HF_HOME")
    assert service("install", "--alias", f"{value}=smollm2", "--json").json["error"]["type"] == "invalid_option"
    assert unit.read_text() == before and [path.name for path in unit.parent.iterdir()] == ["mlxk.service"]


@linux
def test_paths_of_the_environment_are_absolute_and_the_settings_exist(manager, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", "config")
    monkeypatch.setenv("HF_HOME", "./hf")
    monkeypatch.setenv("MLXK_CONFIG", "../settings.toml")
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert service("install").code == 2 and not (tmp_path / "here" / "config").exists()
    (tmp_path / "settings.toml").write_text("")
    assert service("install").code == 0
    unit = (tmp_path / "here" / "config" / "systemd" / "user" / "mlxk.service").read_text().splitlines()
    assert {
        f"Environment=XDG_CONFIG_HOME={tmp_path}/here/config",
        f"Environment=HF_HOME={tmp_path}/here/hf",
        f"Environment=MLXK_CONFIG={tmp_path}/settings.toml",
        "Environment=HF_ENDPOINT=http://hub.example",
    } <= set(unit)


@linux
def test_a_manager_that_speaks_no_utf8_or_cannot_be_run_is_an_error(manager, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert service("install").code == 0
    systemctl = tmp_path / "bin" / "systemctl"
    systemctl.write_bytes(b"#!/bin/sh\nprintf 'ActiveState=\xff\n'\n")
    assert service("status", "--json").json["data"]["state"] == "stopped"
    systemctl.write_bytes(b"#!/bin/sh\nprintf '\xff\n' >&2; exit 1\n")
    assert service("status", "--json").json["error"]["type"] == "no_service_manager"
    (tmp_path / "bin" / "journalctl").write_text("a program of another machine")
    systemctl.write_text(MANAGER)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))  # without the machine's own ones
    assert service("logs").code == 1
    systemctl.write_text("a program of another machine")
    assert service("status", "--json").json["error"]["type"] == "no_service_manager"


@linux
def test_a_unit_that_cannot_be_reached_is_an_error(manager, tmp_path, monkeypatch):
    unit = tmp_path / "config" / "systemd" / "user" / "mlxk.service"
    unit.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for command in ("install", "uninstall"):  # a folder can be neither written nor deleted like a file
        assert service(command, "--json").json["error"]["type"] == "error"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ("x" * 300)))
    assert service("status", "--json").json["error"]["type"] == "error"


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
