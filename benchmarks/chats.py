"""Streamed chats over bare sockets, so that a benchmark measures the server and can leave it as rudely as it likes."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from typing import Any

RESET = struct.pack("ii", 1, 0)
"""For SO_LINGER: the connection ends with a reset."""


class Chat:
    """One request and the events of its answer. `fields` make the body, beside the prompt."""

    def __init__(self, port: int, model: str, prompt: str, **fields: Any) -> None:
        self._port = port
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], "stream": True, **fields}
        data = json.dumps(body).encode()
        head = ["POST /v1/chat/completions HTTP/1.1", f"Host: localhost:{port}", "Content-Type: application/json"]
        self.request = "\r\n".join([*head, f"Content-Length: {len(data)}", "", ""]).encode() + data

    async def __aenter__(self) -> Chat:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()

    async def send(self, share: float = 1.0) -> None:
        """Sends the request, or only a share of its bytes."""
        self._writer.write(self.request[: int(len(self.request) * share)])
        await self._writer.drain()

    async def events(self) -> AsyncIterator[Mapping[str, Any]]:
        """What the server streams, up to `[DONE]`. Raises `Unfinished` for every other end."""
        status = await self._reader.readline()
        if b" 200 " not in status:
            raise Unfinished((status + await self._reader.read()).decode(errors="replace"))
        while line := await self._reader.readline():
            if line == b"data: [DONE]\n":
                return
            if line.startswith(b"data: "):
                event = json.loads(line[6:])
                if "error" in event:
                    raise Unfinished(str(event))
                yield event
        raise Unfinished("the stream ended without [DONE]")

    def leave(self, *, reset: bool) -> None:
        """Closes the connection as it is, with a reset or an ordinary end."""
        if reset:
            sock = self._writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._writer.transport.abort()


class Unfinished(Exception):
    """An answer that was refused, broken off or cut."""


def text_of(event: Mapping[str, Any]) -> str:
    """The piece of the answer in an event."""
    return "".join(choice["delta"].get("content") or "" for choice in event["choices"])
