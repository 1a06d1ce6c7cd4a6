"""One real server with tiny scripted models, and a plain HTTP client, for the API extensions."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mlxk_testing.tiny_models import (
    THINKING_CHATML,
    TOOL_CHATML,
    TOOL_CHATML_TOKENS,
    gpt_oss_model,
    in_hub_cache,
    random_model,
    scripted_model,
)
from tests.server_process import ServerProcess, own_home

TALKER = "The keeper said: «ça va, 你好» 🌊 and left."
_MODULES = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
NESTED = "[" * 1200 + "]" * 1200
"""Deeper than decoders go on Python 3.11."""


def is_nested(arguments: dict) -> bool:
    """Whether these are the arguments `{"city": NESTED}`: as text where that is too deep for the decoder."""
    if "_unparsed" in arguments:
        return arguments == {"_unparsed": f'{{"city": {NESTED}}}'}
    depth, value = 0, arguments["city"]
    while isinstance(value, list):
        depth, value = depth + 1, value[0] if value else None
    return depth == 1200


KEY, OTHER_KEY = "correct-horse", "battery-staple"


def _embedding_files(folder: Path, pooling: str) -> Path:
    """What sentence-transformers writes beside a model."""
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in _MODULES.items()]
    mode = {"last": "pooling_mode_lasttoken", "mean": "pooling_mode_mean_tokens"}[pooling]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({mode: True}))
    prompts = {"prompts": {"query": "Query: ", "document": ""}, "default_prompt_name": None}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 512}))
    return folder


def _embedder(pooling: str, folder: Path) -> None:
    _embedding_files(random_model(folder), pooling)


def _write_models() -> None:
    for pooling in ("last", "mean"):
        in_hub_cache(f"tiny/embeds-{pooling}", partial(_embedder, pooling))
    in_hub_cache("tiny/talker", lambda folder: scripted_model(folder, TALKER))
    in_hub_cache("tiny/endless", lambda folder: scripted_model(folder, "tick tock ", endless=True, context=8192))
    infill = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|im_start|>")
    in_hub_cache("tiny/infill", lambda folder: scripted_model(folder, "x * 2", added_tokens=infill))
    in_hub_cache("tiny/random", lambda folder: random_model(folder, ends=True))
    in_hub_cache(
        "tiny/thinker",
        lambda folder: scripted_model(
            folder,
            "<think>\nTwo and two.\n</think>\n\nFour.",
            chat_template=THINKING_CHATML,
            added_tokens=("<|im_start|>", "<|im_end|>", "<think>", "</think>"),
        ),
    )
    mixed = "".join(
        f'{text}<tool_call>\n{{"name": "get_weather", "arguments": {{"city": "{city}"}}}}\n</tool_call>\n'
        for text, city in (("First.\n", "Oslo"), ("", "Rome"), ("Then.\n", "Bern"))
    )
    in_hub_cache(
        "tiny/mixed",
        lambda folder: scripted_model(
            folder, f"{mixed}Done.", chat_template=TOOL_CHATML, added_tokens=TOOL_CHATML_TOKENS, context=8192
        ),
    )
    in_hub_cache(
        "tiny/caller",
        lambda folder: gpt_oss_model(
            folder,
            "<|channel|>analysis<|message|>Look it up.<|end|><|start|>assistant<|channel|>commentary "
            'to=functions.get_weather <|constrain|>json<|message|>{"city": "Oslo"}<|call|>',
            context=8192,
        ),
    )
    in_hub_cache(
        "tiny/nester",
        lambda folder: gpt_oss_model(
            folder,
            "<|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
            f'{{"city": {NESTED}}}<|call|>',
            context=8192,
        ),
    )


@dataclass
class Reply:
    """A response that was read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The data of every server-sent event, in order; the event's name must be its data's type."""
        found = []
        for block in self.body.decode().split("\n\n"):
            lines = [line for line in block.split("\n") if line and not line.startswith(":")]
            if not lines:
                continue
            fields = dict(line.split(": ", 1) for line in lines)
            data = json.loads(fields["data"])
            assert fields["event"] == data["type"]
            found.append(data)
        return found

    @property
    def lines(self) -> list[Any]:
        """Every line of newline-delimited JSON."""
        return [json.loads(line) for line in self.body.splitlines() if line]


@dataclass
class Client:
    """Talks HTTP to one server. `headers` go with every request."""

    address: tuple[str, int]
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **headers: str) -> Reply:
        return self.request("GET", path, None, headers)

    def delete(self, path: str, **headers: str) -> Reply:
        return self.request("DELETE", path, None, headers)

    def post(self, path: str, body: Any, **headers: str) -> Reply:
        return self.request("POST", path, body, headers)

    def request(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> Reply:
        connection = http.client.HTTPConnection(*self.address, timeout=180)
        sent = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(method, path, data, sent)
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all API tests. It has two keys."""
    folder = tmp_path_factory.mktemp("apis")
    keys = folder / "keys.txt"
    keys.write_text(f"{KEY}\n{OTHER_KEY}\n")
    with own_home(folder):
        _write_models()
        process = ServerProcess(folder, "--api-key-file", str(keys))
    try:
        yield process
    finally:
        process.kill()


@pytest.fixture
def api(api_server: ServerProcess) -> Client:
    """A client with the first key."""
    url = urlsplit(api_server.base_url)
    assert url.hostname and url.port
    return Client((url.hostname, url.port), {"authorization": f"Bearer {KEY}"})


@pytest.fixture(scope="session")
def client_of() -> type[Client]:
    """`client_of((host, port))`: a client of another server."""
    return Client


@pytest.fixture
def other(api: Client) -> Client:
    """A client with the second key."""
    return Client(api.address, {"authorization": f"Bearer {OTHER_KEY}"})


@pytest.fixture
def embedding_files() -> Callable[[Path, str], Path]:
    """`embedding_files(folder, pooling)` makes the model in a folder one that embeds."""
    return _embedding_files


@pytest.fixture
def embedder(api_server: ServerProcess) -> Callable[[str], tuple[str, Path]]:
    """`embedder(pooling)`: the name and the folder of a model of the server that embeds."""

    def find(pooling: str) -> tuple[str, Path]:
        [folder] = api_server.folder.glob(f"hub/models--tiny--embeds-{pooling}/snapshots/*")
        return f"tiny/embeds-{pooling}", folder

    return find
