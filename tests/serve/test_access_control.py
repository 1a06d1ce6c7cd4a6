"""Who may come in, and what is told to those who may not."""

from __future__ import annotations

import pytest

from mlxk_serve.options import api_keys

KEY = "correct-horse-battery"
CHAT = "/v1/chat/completions"


@pytest.fixture
def locked(serve, engine):
    return serve(keys=(KEY, "another-key-entirely")).client


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer wrong"}, {"x_api_key": "wrong"}, {"authorization": f"Basic {KEY}"},
                {"authorization": "Bearer "}, {"x_api_key": ""}, {"authorization": f"Bearer {KEY}x"}],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/v1/status", "/openapi.json", "/nowhere"])
def test_without_a_valid_key_nothing_is_disclosed(locked, headers, path):
    answer = locked.get(path, **headers)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.error["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    "headers", [{"authorization": f"Bearer {KEY}"}, {"authorization": f"bearer {KEY}"}, {"x_api_key": KEY},
                {"x_api_key": "another-key-entirely"}],
)  # fmt: skip
def test_a_good_key_opens(locked, headers):
    assert locked.get("/v1/models", **headers).status == 200
    assert locked.post(CHAT, locked.chat_body(), **headers).status == 200


@pytest.mark.parametrize("path", ["/health", "/livez"])
def test_a_supervisor_needs_no_key(locked, path):
    assert locked.get(path).status == 200


def test_a_wrong_key_is_refused_before_the_body_is_read(locked):
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
    assert b"401" in locked.raw(head.encode()).splitlines()[0]


def test_a_body_that_was_announced_is_not_asked_for(locked):
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"
    assert b"401" in locked.raw(head.encode()).splitlines()[0]


def test_keys_are_not_logged(serve, engine, caplog, kit):
    import logging

    client = serve(keys=(KEY,)).client
    with caplog.at_level(logging.DEBUG):
        client.get("/v1/models", authorization="Bearer wrong-but-secret")
        client.get("/v1/models", authorization=f"Bearer {KEY}")
        client.post(CHAT, client.chat_body(), x_api_key=KEY)
        kit.until(lambda: len(caplog.records) >= 3)  # the last one is logged after its response
    told = "".join(str(vars(record)) for record in caplog.records)
    assert KEY not in told
    assert "wrong-but-secret" not in told


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("localhost", 200), ("localhost:1", 200), ("LOCALHOST", 200), ("app.localhost", 200), ("127.0.0.1", 200),
        ("127.9.9.9:80", 200), ("[::1]:8000", 200), ("[::1]", 200), ("evil.com", 403), ("evil.com:8000", 403),
        ("localhost.evil.com", 403), ("192.168.1.5", 403), ("localhost,evil.com", 403), ("user@localhost", 403),
        ("localhost/x", 403), ("", 400), ("[::1", 403), ("localhost:port", 403),
    ],
)  # fmt: skip
def test_only_our_own_names_are_answered_to(client, name, status):
    answer = client.raw(f"GET /health HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
    assert int(answer.split()[1]) == status


def test_a_request_without_a_host_or_with_two_is_refused(client):
    assert b" 400 " in client.raw(b"GET /health HTTP/1.1\r\n\r\n").splitlines()[0]
    assert b" 400 " in client.raw(b"GET /health HTTP/1.0\r\n\r\n").splitlines()[0]
    two = b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.com\r\n\r\n"
    assert b" 400 " in client.raw(two).splitlines()[0]


def test_another_name_can_be_allowed(serve, engine):
    client = serve(allow_hosts=("models.example",)).client
    assert client.get("/health", host="models.example:8000").status == 200
    assert client.get("/health", host="evil.com").status == 403


@pytest.mark.parametrize("kind", ["text/plain", "application/json"])
def test_a_foreign_page_is_refused_before_any_work(client, engine, kind):
    for headers in ({"origin": "https://evil.com"}, {"origin": "null"}, {"sec_fetch_site": "cross-site"}):
        answer = client.post(CHAT, client.chat_body(), content_type=kind, **headers)
        assert answer.status == 403
        assert answer.error["code"] == "origin_not_allowed"
        assert "access-control-allow-origin" not in answer.headers
    assert engine.script.happened("load") == []


def test_a_page_of_our_own_is_let_in(client):
    own = f"http://127.0.0.1:{client.port}"
    answer = client.post(
        CHAT, client.chat_body(), origin=own, content_type="application/json", sec_fetch_site="same-origin"
    )
    assert answer.status == 200
    assert "access-control-allow-origin" not in answer.headers
    form = client.post(CHAT, client.chat_body(), origin=own, content_type="text/plain")
    assert (form.status, form.error["code"]) == (415, "unsupported_media_type")


def test_no_page_may_read_an_answer_unless_it_was_named(serve, engine):
    client = serve(allow_origins=("https://app.example",), keys=(KEY,)).client
    good = {"origin": "https://app.example", "sec_fetch_site": "cross-site"}
    ask = {"access_control_request_method": "POST", "access_control_request_headers": "authorization,x-stainless-os"}

    preflight = client.request("OPTIONS", CHAT, headers={**_dashed(good), **_dashed(ask)})
    assert preflight.status in (200, 204)
    assert preflight.headers["access-control-allow-origin"] == "https://app.example"
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "x-stainless-os" in preflight.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in preflight.headers

    answer = client.post(CHAT, client.chat_body(), content_type="application/json", x_api_key=KEY, **good)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert answer.headers["vary"] == "Origin"
    # The page can read why it was refused, too.
    for refused in (
        client.post(CHAT, {}, content_type="application/json", **good),
        client.get("/nowhere", x_api_key=KEY, **good),
    ):
        assert refused.status in (401, 404)
        assert refused.headers["access-control-allow-origin"] == "https://app.example"

    foreign = {**_dashed(ask), "origin": "https://evil.com"}
    assert client.request("OPTIONS", CHAT, headers=foreign).status == 403


def test_an_id_of_the_client_is_echoed_if_it_is_sane(client):
    assert client.get("/health", x_request_id="abc-123").headers["x-request-id"] == "abc-123"
    for bad in ("x" * 129, "has blank", "ü".encode().decode("latin-1"), ""):
        given = client.get("/health", x_request_id=bad).headers["x-request-id"]
        assert given.startswith("req_")
    assert client.get("/health", host="evil.com", x_request_id="mine").headers["x-request-id"] == "mine"


def _dashed(headers):
    return {name.replace("_", "-"): value for name, value in headers.items()}


def test_a_key_file_may_begin_with_a_byte_order_mark(tmp_path):
    file = tmp_path / "keys.txt"
    file.write_text("\ufeffcorrect-horse\r\nbattery-staple\n", encoding="utf-8")
    assert api_keys(file) == ("correct-horse", "battery-staple")
