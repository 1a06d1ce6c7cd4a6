"""A running `mlxk serve` for tests, with the plugins under test loaded."""

from __future__ import annotations

import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from mlxk_core.api.network import url_opener
from mlxk_testing.processes import Processes

_WAIT = 300.0  # seconds


@dataclass(frozen=True)
class Response:
    """An HTTP response that was read to its end. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class RunningServer:
    """A server in another process, at `url` (`http://127.0.0.1:PORT`)."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **headers: str) -> Response:
        """Return the response to GET `path`, whatever its status."""
        return self.request("GET", path, headers=headers)

    def post(self, path: str, body: Any, **headers: str) -> Response:
        """Return the response to POST `path` with `body` as JSON."""
        return self.request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        request = urllib.request.Request(self.url + path, data=body, headers=dict(headers or {}), method=method)
        try:
            with url_opener(self.url).open(request, timeout=_WAIT) as response:
                return Response(response.status, _lower(response.headers), response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Response(error.code, _lower(error.headers), error.read())


@pytest.fixture
def server(
    mlxk: Processes, hub_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., RunningServer]]:
    """`server("--concurrency", "2", plugins={"mine": "my_package.plugin"})` starts `mlxk serve` and waits for it.

    All installed plugins are loaded; `plugins` are modules to load in addition, by entry-point name: importable ones
    that need not be installed. Models come from the fixture `hub_cache`. The end of the test stops the server. Skips
    the test where mlxk-serve is not installed.
    """
    pytest.importorskip("mlxk_serve")

    def start(
        *args: str, plugins: Mapping[str, str] | None = None, env: Mapping[str, str] | None = None
    ) -> RunningServer:
        paths = [os.environ.get("PYTHONPATH", "")]
        if plugins:
            folder = tmp_path_factory.mktemp("plugins")
            install_entry_points(folder, plugins)
            paths.insert(0, str(folder))
        environment = {**(env or {}), "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
        process = mlxk.start("serve", "--host", "127.0.0.1", "--port", "0", "--json", *args, env=environment)
        assert process.stdout is not None and process.stderr is not None
        errors: list[str] = []
        # Read all the time: a full pipe would block the server.
        threading.Thread(target=errors.extend, args=(process.stderr,), daemon=True).start()
        document = ""
        for line in process.stdout:
            document += line
            if line == "}\n":
                break
        if not document:
            process.wait(_WAIT)
            raise AssertionError(f"mlxk serve did not start:\n{''.join(errors)}")
        answer = json.loads(document)
        assert answer["status"] == "success", answer
        return RunningServer(answer["data"]["urls"][0])

    yield start


def install_entry_points(folder: Path, plugins: Mapping[str, str]) -> None:
    """Make `plugins` (entry-point name: module) known to a Python that has `folder` on its path.

    Modules are imported as usual; put them into `folder`, or elsewhere on the path. One that is installed already, as
    with `pip install -e .`, is not added twice.
    """
    installed = {(point.name, point.value) for point in entry_points(group="mlxk")}
    plugins = {name: module for name, module in plugins.items() if (name, module) not in installed}
    info = folder / "mlxk_test_plugins-0.0.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mlxk-test-plugins\nVersion: 0.0.0\n")
    points = "".join(f"{name} = {module}\n" for name, module in plugins.items())
    (info / "entry_points.txt").write_text(f"[mlxk]\n{points}")


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
