"""An installed plugin's route in a real process, and `--reload` when its code changes."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from mlxk_serve.config import ServeConfig
from mlxk_serve.server import End, Server
from mlxk_serve.signals import SignalHandler

PLUGIN = """
from mlxk_core.api import ServerExtensionSpec, hookimpl

@hookimpl
def mlxk_server_extensions():
    yield ServerExtensionSpec(name="version", summary="GET /version.", target="mlxk_versioned:extend")

class Version:
    def on_get(self, req, resp):
        resp.media = {{"version": {version}}}

def extend(server):
    server.add_route("/version", Version())
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A plugin that is installed as far as Python is concerned; gives the file of its code."""
    info = tmp_path / "mlxk_versioned-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mlxk-versioned\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mlxk]\nversioned = mlxk_versioned\n")
    code = tmp_path / "mlxk_versioned.py"
    code.write_text(PLUGIN.format(version=1))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return code


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def start_on_a_free_port(mlxk):
    """The server keeps its port when it starts again, so the port is chosen here; somebody else may be quicker."""
    for _ in range(20):
        port = free_port()
        process = mlxk.start("serve", "--port", str(port), "--reload")
        if process.stdout.readline():
            return process, port
        assert "is in use" in process.stderr.read()
    raise AssertionError("no port stays free")


def rewrite(code, text):
    """Change a file at once: written in place, it is empty for a moment, and the server may read it then."""
    new = code.with_suffix(".new")
    new.write_text(text)
    os.utime(new, ns=(len(text), len(text)))  # another time than before, however coarse the clock of the disk
    new.replace(code)


def version(kit, port):
    try:
        return kit.Client(port).get("/version").json["version"]
    except OSError:
        return None


def test_a_change_of_a_plugin_restarts_the_server_in_the_same_process(site, mlxk, kit):
    process, port = start_on_a_free_port(mlxk)
    assert kit.until(lambda: version(kit, port)) == 1
    idle = socket.create_connection(("127.0.0.1", port))

    rewrite(site, "def half typed(")
    kit.until(lambda: "cannot be compiled" in process.stderr.readline())
    assert version(kit, port) == 1

    rewrite(site, "-" * 200_000 + "1")  # too deep for the compiler, which is no SyntaxError
    kit.until(lambda: "cannot be compiled" in process.stderr.readline())
    assert version(kit, port) == 1

    rewrite(site, PLUGIN.format(version=2))
    assert kit.until(lambda: version(kit, port) == 2)
    assert process.poll() is None
    idle.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(180) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_pipe_among_the_files_of_a_plugin_is_not_opened(site, mlxk, kit):
    package = site.with_suffix("")
    package.mkdir()
    code = site.rename(package / "__init__.py")
    process, port = start_on_a_free_port(mlxk)
    assert kit.until(lambda: version(kit, port)) == 1
    os.mkfifo(package / "pipe.py")
    rewrite(code, PLUGIN.format(version=2))
    assert kit.until(lambda: version(kit, port) == 2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(180) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_a_restart_ends_the_server(host, number):
    def changed():
        os.kill(os.getpid(), number)
        return True

    config = ServeConfig(port=0, hosts=("127.0.0.1",), concurrency=1, queue=1)
    assert SignalHandler().run(lambda: Server(host, config), lambda server: None, changed) is End.DONE
