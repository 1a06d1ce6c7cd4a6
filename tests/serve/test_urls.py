"""Unknown URLs: the one that is meant."""

from __future__ import annotations

import pytest

from mlxk_serve.http.url_hints import meant_url

SERVED = [
    "/",
    "/health",
    "/tokenize",
    "/v1/models",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/embeddings",
    "/api/chat",
    "/api/embed",
    "/api/generate",
]


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/chat/completion", "/v1/chat/completions"),
        ("/v1/chat", "/v1/chat/completions"),
        ("/v1/response", "/v1/responses"),
        ("/v1/v1/models", "/v1/models"),
        ("/v1//models", "/v1/models"),
        ("/V1/Models", "/v1/models"),
        ("/v1/message", "/v1/messages"),
        ("/v1/messages/count", "/v1/messages/count_tokens"),
        ("/v1/embed", "/v1/embeddings"),
        ("/v1/complete", "/v1/completions"),
        ("/openai/v1/responses", "/v1/responses"),
        ("/api/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/api/chat", "/api/chat"),
        ("/api/chats", "/api/chat"),
        ("/v1/tokenize", "/tokenize"),
        ("/healthz", "/health"),
        ("/v1/audio/speech", None),
        ("/api/delete", None),
        ("/v1", None),
        ("/nowhere", None),
        ("/", None),
        ("//", None),
        ("/" + "v1/" * 200 + "models", None),
    ],
)
def test_the_url_that_is_meant(path, meant):
    assert meant_url(path, SERVED) == meant
