"""The commands about servers and this machine."""

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from xml.etree import ElementTree

import pytest

import mlxk_service.plugin
from mlxk_testing.fake_engine import fake_backend, fake_model
from mlxk_testing.tiny_models import in_hub_cache, scripted_model

STATUS = b"""{"version": "0.1.0", "uptime_seconds": 90, "draining": false, "active": 1, "waiting": 2, "loading": null,
"memory": 4000000000, "models": [{"name": "org/\\u001bm", "backend": "mlx", "memory": 1500000, "running": 0,
"idle_seconds": 7200}]}"""


@pytest.fixture(autouse=True)
def service(host):
    host.register(mlxk_service.plugin, name="service")


@pytest.fixture
def api():
    """A server's local API, which asks for the key `secret`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            allowed = self.headers["Authorization"] == "Bearer secret"
            self.send_response(404 if self.path != "/v1/status" else 200 if allowed else 401)
            self.end_headers()
            self.wfile.write(STATUS)

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_ps_and_status_ask_the_running_server(cli, api, monkeypatch):
    monkeypatch.setenv("MLXK_API_KEY", "secret")
    listed = cli("ps", "--url", api).stdout
    assert "\x1b" not in listed and "1.5 MB" in listed and "2 h" in listed
    assert cli("ps", "--url", f"{api}/v1", "--json").json["data"]["count"] == 1
    assert "1 running, 2 waiting" in cli("status", "--url", api).stdout


def test_a_missing_key_and_a_missing_server_are_different_errors(cli, api):
    assert cli("ps", "--url", api, "--json").json["error"]["type"] == "access_denied"
    assert cli("ps", "--url", "http://127.0.0.1:1", "--json").json["error"]["type"] == "server_unavailable"
    assert cli("ps", "--url", f"{api}/elsewhere", "--json").json["error"]["type"] == "server_unavailable"


@pytest.mark.parametrize(("url", "type"), [("ftp://host", "invalid_option"), ("127.0.0.1:no", "server_unavailable")])
def test_an_address_that_is_none_is_an_error(cli, url, type):
    assert cli("ps", "--url", url, "--json").json["error"]["type"] == type


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n[]",
        b"HTTP/1.0 200 OK\r\n\r\n<p>",
        b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 200_000,
        b"HTTP/1.0 200 OK\r\n\r\n{}",
        b'HTTP/1.0 200 OK\r\n\r\n{"models": ["m"]}',
        b'HTTP/1.0 200 OK\r\n\r\n{"models": [{"name": "m", "memory": "big"}]}',
        b'HTTP/1.0 200 OK\r\n\r\n{"models": [], "memory": 1' + b"0" * 400 + b"}",
        b'HTTP/1.0 200 OK\r\n\r\n{"models": [], "uptime_seconds": Infinity}',
        b"HTTP/1.0 500 Error\r\n\r\n" + b"[" * 200_000,
        b'HTTP/1.0 500 Error\r\n\r\n{"error": {"message": {}}}',
        b"HTTP/1.0 200 OK\r\n\r\n" + b" " * (17 << 20) + b'{"models": []}',
    ],
    ids=lambda answer: str(answer[15:60]),
)
def test_a_server_of_another_kind_is_an_error(cli, answer):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)

        def respond():
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(60)
                connection.recv(4096)
                with contextlib.suppress(OSError):  # not all of it is read
                    connection.sendall(answer)

        thread = threading.Thread(target=respond)
        thread.start()
        result = cli("status", "--url", f"127.0.0.1:{listener.getsockname()[1]}", "--json")
        thread.join(60)
    assert result.json["error"]["type"] == "server_unavailable"


def test_only_a_server_on_another_machine_is_reached_through_a_proxy(cli, api, monkeypatch):
    monkeypatch.setenv("http_proxy", api)
    assert "404" in cli("status", "--url", "http://models.invalid").stderr  # the proxy's answer
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("MLXK_API_KEY", "secret")
    assert cli("status", "--url", api).code == 0


def test_a_key_that_cannot_be_sent_is_not_shown(cli, api, monkeypatch):
    monkeypatch.setenv("MLXK_API_KEY", "sec\nret")
    result = cli("ps", "--url", api)
    assert "MLXK_API_KEY" in result.stderr and "ret\n" not in result.stderr and "sec\\n" not in result.stderr


def test_stop_unloads_what_ps_lists(mlxk, server, hub_cache, tmp_path):
    in_hub_cache("acme/Talker-4bit", lambda folder: scripted_model(folder, "Hi."))
    scripted_model(tmp_path / "other", "Hi.")
    url = server("--model", "acme/Talker-4bit", "--model", str(tmp_path / "other")).url
    assert mlxk("ps", "--url", url, "--json").json["data"]["count"] == 2
    assert mlxk("stop", "nope", "--url", url, "--json").json["error"]["type"] == "model_not_loaded"
    assert mlxk("stop", "talker", "--url", url, "--json").json["data"]["stopped"] == ["acme/Talker-4bit"]
    assert mlxk("stop", "--all", "--url", url).stdout == "Unloaded other.\n"
    assert mlxk("ps", "--url", url, "--json").json["data"]["count"] == 0


def test_stop_needs_a_name_or_all(cli):
    assert cli("stop").code == 2 and cli("stop", "x", "--all").code == 2


def test_doctor_names_what_is_wrong_and_the_fix(cli, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "config.toml").write_text("nope = 1\n")
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("MLXK_CONFIG", str(tmp_path / "config.toml"))
    result = cli("doctor", "--json")
    states = {check["name"]: check for check in result.json["data"]["checks"]}
    assert result.code == 1 and result.json["error"]["type"] == "problems_found"
    assert states["cache"]["state"] == states["settings"]["state"] == "error"
    assert states["cache"]["fix"] and states["system"]["state"] == "ok"


def test_doctor_reports_a_user_without_a_home_folder(cli, homeless):
    states = {check["name"]: check for check in cli("doctor", "--json").json["data"]["checks"]}
    assert states["cache"]["state"] == "error" and "HF_HOME" in states["cache"]["text"]


def test_bench_measures_each_batch(cli, host, tmp_path):
    host.register(fake_backend("x" * 100), name="fake")
    folder = fake_model(tmp_path / "talker").path
    data = cli("bench", str(folder), "--batch", "1", "--batch", "3", "--max-tokens", "8", "--json").json["data"]
    assert [one["batch"] for one in data["measurements"]] == [1, 3]
    assert all(one["generation_tokens_per_second"] > 0 for one in data["measurements"])
    assert cli("bench", str(folder), "--batch", "2").stdout.count("\n") == 2
    chart = tmp_path / "speed.svg"
    assert cli("bench", str(folder), "--batch", "1", "--batch", "2", "--plot", str(chart), "--json").code == 0
    assert ElementTree.parse(chart).getroot().tag.endswith("svg") and "Generation" in chart.read_text()
    assert cli("bench", str(folder), "--plot", str(tmp_path / "none" / "speed.svg")).code == 2
