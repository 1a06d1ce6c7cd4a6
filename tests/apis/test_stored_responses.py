"""Responses that outlive their request: in the background, and in a SQLite file."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxk_core.api import Message
from mlxk_core.api.errors import InvalidOption
from mlxk_core.api.generation import ToolCall
from mlxk_responses.damaged_responses import StoreUnavailable
from mlxk_responses.event_log import EventLog
from mlxk_responses.item_pages import encode_items, page
from mlxk_responses.sqlite_store import SqliteStore
from mlxk_responses.store import Bounds, MemoryStore, StoredResponse, stored_size
from mlxk_testing.tiny_models import in_hub_cache, scripted_model
from tests.apis.conftest import KEY, OTHER_KEY, Client
from tests.apis.test_responses import create, text
from tests.server_process import ServerProcess, own_home

WAIT = 180.0


def finished(api, id):
    """The response of that id, once it has ended."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        body = api.get(f"/v1/responses/{id}").json
        if body["status"] not in ("queued", "in_progress"):
            return body
        time.sleep(0.02)
    raise AssertionError("it did not end")


def wait_for(holds):
    """Wait until `holds()` is true."""
    end = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def rows(path):
    """The ids in a file of stored responses."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        return [id for [id] in database.execute("SELECT id FROM responses")]


def test_a_background_response_is_there_at_once_and_whole_later(api):
    whole = create(api).json
    started = create(api, background=True)
    assert (started.status, started.json["status"]) == (200, "queued")
    done = finished(api, started.json["id"])
    assert (done["background"], text(done), done["usage"]["output_tokens"]) == (
        True, text(whole), whole["usage"]["output_tokens"],
    )  # fmt: skip
    assert create(api, input="And?", previous_response_id=done["id"]).status == 200


def test_a_running_background_response_is_cancelled_and_keeps_its_text(api, other):
    id = create(api, model="tiny/endless", background=True, max_output_tokens=8000).json["id"]
    path = f"/v1/responses/{id}"
    assert other.post(f"{path}/cancel", {}).status == 404
    cancelled = api.post(f"{path}/cancel", {})
    assert (cancelled.status, cancelled.json["status"]) == (200, "cancelled")
    assert api.get(path).json == cancelled.json
    assert api.post(f"{path}/cancel", {}).json["status"] == "cancelled"
    assert api.delete(path).status == 200
    assert api.get(path).status == 404


def test_of_many_who_end_a_response_at_once_one_deletes_it(api):
    id = create(api, model="tiny/endless", background=True, max_output_tokens=8000).json["id"]
    with ThreadPoolExecutor(12) as pool:
        cancels = [pool.submit(api.post, f"/v1/responses/{id}/cancel", {}) for _ in range(4)]
        reads = [pool.submit(api.get, f"/v1/responses/{id}?stream=true") for _ in range(4)]
        deletes = [pool.submit(api.delete, f"/v1/responses/{id}") for _ in range(4)]
    assert sorted(each.result().status for each in deletes) == [200, 404, 404, 404]
    assert {each.result().status for each in (*cancels, *reads)} <= {200, 400, 404}
    assert api.get(f"/v1/responses/{id}").status == 404


def test_a_foreground_response_cannot_be_cancelled(api):
    id = create(api).json["id"]
    refused = api.post(f"/v1/responses/{id}/cancel", {})
    assert (refused.status, refused.json["error"]["param"]) == (400, "response_id")


def test_a_background_stream_can_be_read_again_from_any_event(api):
    events = create(api, background=True, stream=True).events
    assert [event["type"] for event in events[:3]] == ["response.created", "response.queued", "response.in_progress"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    id = events[0]["response"]["id"]
    assert api.get(f"/v1/responses/{id}?stream=true").events == events
    assert api.get(f"/v1/responses/{id}?stream=true&starting_after=4").events == events[5:]
    assert events[-1]["response"] == api.get(f"/v1/responses/{id}").json
    refused = api.get(f"/v1/responses/{create(api).json['id']}?stream=true")
    assert (refused.status, refused.json["error"]["param"]) == (400, "stream")


def test_a_stream_of_a_background_response_ends_with_an_error_when_the_server_ends(tmp_path):
    with own_home(tmp_path):
        in_hub_cache("tiny/endless", lambda folder: scripted_model(folder, "x" * 100_000, context=200_000))
        server = ServerProcess(tmp_path)
        host, _, port = server.base_url.removeprefix("http://").removesuffix("/v1").rpartition(":")
        api = Client((host, int(port)))
        id = create(api, model="tiny/endless", background=True, max_output_tokens=90_000).json["id"]
        with urllib.request.urlopen(f"{server.base_url}/responses/{id}?stream=true", timeout=WAIT) as stream:
            stream.readline()
            server.popen.terminate()
            data = [json.loads(line.removeprefix(b"data: ")) for line in stream if line.startswith(b"data: ")]
        server.kill()
    assert [event["sequence_number"] for event in data[:-1]] == list(range(len(data) - 1))
    assert data[-1]["type"] == "error" or data[-1]["response"]["status"] != "in_progress"


@given(st.lists(st.lists(st.integers(0, 1 << 17), max_size=4), max_size=12))
def test_events_of_a_stream_are_read_again_from_any_place(writes):
    log, events = EventLog(), []
    for sizes in writes:
        new = [b"event: e\ndata: %d %s\n\n" % (len(events) + i, b"x" * size) for i, size in enumerate(sizes)]
        events += new
        log.add(b"".join(new))
    assert len(log) == len(events)
    for place in range(len(events) + 1):
        assert bool(log.since(place)) == (place < len(events))
        found = list(log.since(place))
        assert found == events[place : place + len(found)]
    assert log.size < (600 << 10)  # of at most six megabytes


def test_what_a_response_repeats_is_limited(api):
    for metadata in ({"a" * 65: "b"}, {"a": "b" * 513}, {str(i): "b" for i in range(17)}):
        refused = create(api, metadata=metadata)
        assert (refused.status, refused.json["error"]["param"]) == (400, "metadata")
    for field in ("user", "safety_identifier", "prompt_cache_key"):
        refused = create(api, **{field: "x" * 513})
        assert (refused.status, refused.json["error"]["param"]) == (400, field)
    assert create(api, metadata={"a" * 64 if not i else str(i): "b" * 512 for i in range(16)}).status == 200


def test_background_responses_are_kept_within_the_bytes_of_the_store(tmp_path):
    (tmp_path / "config.toml").write_text("[responses]\nmax_bytes = 300000\n")
    tool = {"type": "function", "name": "f", "parameters": {"description": "x" * 20_000}}
    with own_home(tmp_path):
        in_hub_cache("tiny/talker", lambda folder: scripted_model(folder, "Hello.", context=100_000))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLXK_CONFIG", str(tmp_path / "config.toml"))
            server = ServerProcess(tmp_path)
        host, _, port = server.base_url.removeprefix("http://").removesuffix("/v1").rpartition(":")
        api = Client((host, int(port)))
        ids = []
        for _ in range(6):
            ids.append(create(api, background=True, tools=[tool], tool_choice="none").json["id"])
            assert finished(api, ids[-1])["status"] == "completed"
        streams = [api.get(f"/v1/responses/{id}?stream=true") for id in ids]
        server.kill()
    assert streams[-1].status == 200
    assert sum(len(stream.body) for stream in streams if stream.status == 200) <= 300_000
    assert [stream.status for stream in streams][:2] == [400, 400]  # stored, but without their events


def test_an_automatic_truncation_drops_the_oldest_turns_that_do_not_fit(api):
    history = []
    for i in range(60):
        history += [{"role": "user", "content": f"{i} " + "x" * 60}, {"role": "assistant", "content": "y" * 60}]
    history.append({"role": "user", "content": "The last one"})
    long = [{"role": "system", "content": "Be brief."}, *history]
    fields = {"model": "tiny/random", "input": long, "max_output_tokens": 4, "temperature": 0}
    refused = create(api, **fields)
    assert (refused.status, refused.json["error"]["code"]) == (400, "context_length_exceeded")
    answer = create(api, **fields, truncation="auto").json
    assert (answer["truncation"], answer["error"]) == ("auto", None)
    kept = answer["usage"]["input_tokens"]
    assert kept + 4 <= 2048 < kept + 4 + 200  # no turn more than needed was dropped
    short = create(api, **fields | {"input": long[:3]}).json["usage"]
    assert (
        create(api, **fields | {"input": long[:3]}, truncation="auto").json["usage"]["input_tokens"]
        == (short["input_tokens"])
    )


def test_responses_in_a_file_survive_a_restart(tmp_path):
    (tmp_path / "keys.txt").write_text(f"{KEY}\n{OTHER_KEY}\n")
    (tmp_path / "config.toml").write_text('[responses]\nfile = "responses.db"\nmax_responses = 2\n')
    ids = []
    with own_home(tmp_path):
        in_hub_cache("tiny/talker", lambda folder: scripted_model(folder, "Hello."))
        for _ in range(2):
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("MLXK_CONFIG", str(tmp_path / "config.toml"))
                server = ServerProcess(tmp_path, "--api-key-file", str(tmp_path / "keys.txt"))
            host, _, port = server.base_url.removeprefix("http://").removesuffix("/v1").rpartition(":")
            api = Client((host, int(port)), {"authorization": f"Bearer {KEY}"})
            other = Client((host, int(port)), {"authorization": f"Bearer {OTHER_KEY}"})
            if ids:
                assert api.get(f"/v1/responses/{ids[-1]}").json["id"] == ids[-1]
                assert other.get(f"/v1/responses/{ids[-1]}").status == 404
                assert create(api, input="And?", previous_response_id=ids[-1]).status == 200
                assert api.delete(f"/v1/responses/{ids[-1]}").status == 200
            else:
                ids += [create(api).json["id"] for _ in range(3)]
                wait_for(lambda: api.get(f"/v1/responses/{ids[0]}").status == 404)  # noqa: B023
                wait_for(lambda: len(rows(tmp_path / "responses.db")) == 2)
            server.kill()
    assert (tmp_path / "responses.db").stat().st_mode & 0o077 == 0


CONVERSATION = [Message(role="user", content="Hi")]


def stored(id, owner="a", size=10):
    body = b'{"id":"%s"}' % id.encode()
    return StoredResponse(id=id, owner=owner, body=body.ljust(size), input_items=b'{"id":"item_0"}\n')


class Written(SqliteStore):
    """A store whose file has what was put into it."""

    def put(self, response, conversation):
        super().put(response, conversation)
        assert self.flush(WAIT)


@pytest.fixture(params=["memory", "file"])
def store(request, tmp_path):
    """`store(bounds)`: an empty store and a clock that the test moves."""

    def make(**bounds):
        now = [1000.0]
        limits = Bounds(**{"responses": 10, "bytes": 10_000, "age": 100.0} | bounds)
        if request.param == "memory":
            return MemoryStore(limits, clock=lambda: now[0]), now
        return Written(tmp_path / "responses.db", limits, clock=lambda: now[0]), now

    return make


def test_the_oldest_are_dropped_at_each_bound(store):
    responses, _ = store(responses=2)
    for id in "abc":
        responses.put(stored(id), CONVERSATION)
    assert [responses.find(id, "a") is not None for id in "abc"] == [False, True, True]


def test_bytes_are_a_bound(store):
    responses, _ = store(bytes=2 * stored_size(stored("a", size=100), CONVERSATION))
    for id in "abc":
        responses.put(stored(id, size=100), CONVERSATION)
    assert [responses.find(id, "a") is not None for id in "abc"] == [False, True, True]


@pytest.mark.parametrize(
    "bounds",
    [{"responses": 3}, {"bytes": 3 * stored_size(stored("a", size=100), CONVERSATION)}],
    ids=["count", "bytes"],
)
def test_a_client_that_stores_much_drops_its_own(store, bounds):
    responses, _ = store(**bounds)
    for id, client in zip("abcdef", ("other", *["one"] * 5), strict=True):
        responses.put(replace(stored(id, size=100), client=client), CONVERSATION)
    assert [id for id in "abcdef" if responses.find(id, "a")] == ["a", "e", "f"]


def test_age_is_a_bound(store):
    responses, now = store()
    responses.put(stored("a"), CONVERSATION)
    now[0] += 101
    assert responses.find("a", "a") is None


LONG = "x" * 1000


@pytest.mark.parametrize(
    "message",
    [
        Message(role="assistant", content="", tool_calls=[ToolCall(id="a", name="f", arguments=LONG)]),
        Message(role="assistant", content="", tool_calls=[ToolCall(id=LONG, name="f", arguments="{}")]),
        Message(role="tool", content="", tool_call_id=LONG),
        Message(role="assistant", content="", reasoning=LONG),
    ],
    ids=["arguments", "id", "result", "reasoning"],
)
def test_every_text_of_a_message_counts(message):
    assert stored_size(stored("a"), [message]) > 1000


def test_each_message_counts_for_more_than_its_text():
    conversation = [Message(role="user", content="x")] * 100
    assert stored_size(stored("a"), conversation) > 10_000


def test_a_wrong_clock_deletes_nothing_and_what_is_old_is_deleted(tmp_path):
    now, running = [1000.0], [0.0]

    def opened():
        bounds = Bounds(responses=10, bytes=10_000, age=100.0)
        return Written(tmp_path / "responses.db", bounds, clock=lambda: now[0], monotonic=lambda: running[0])

    responses = opened()
    responses.put(stored("a"), CONVERSATION)
    now[0] += 400 * 24 * 3600
    assert responses.find("a", "a") is None
    responses.put(stored("b"), CONVERSATION)
    responses = opened()  # also a server that is started meanwhile deletes nothing
    responses.put(stored("c"), CONVERSATION)
    now[0] -= 400 * 24 * 3600
    assert responses.find("a", "a") == stored("a")
    running[0] += 50
    responses.put(stored("d"), CONVERSATION)
    running[0] += 51
    responses.put(stored("e"), CONVERSATION)
    assert rows(tmp_path / "responses.db") == ["d", "e"]


def test_a_response_is_found_and_deleted_by_its_owner_only(store):
    responses, _ = store()
    responses.put(stored("a"), CONVERSATION)
    assert responses.find("a", "a") == stored("a")
    assert responses.conversation("a", "a") == CONVERSATION
    assert responses.find("a", "b") is None
    assert responses.conversation("a", "b") is None
    assert [responses.delete("a", "b"), responses.delete("a", "a"), responses.delete("a", "a")] == [False, True, False]


@pytest.mark.parametrize("content", [b"not a database, but long enough to look at " * 30, None])
def test_a_file_that_is_not_a_database_is_an_error(tmp_path, content):
    path = tmp_path / "responses.db"
    path.write_bytes(content) if content else path.mkdir()
    with pytest.raises(InvalidOption, match=r"responses\.file"):
        SqliteStore(path, Bounds(responses=1, bytes=1, age=1))


def test_a_file_with_a_damaged_schema_is_an_error(tmp_path):
    path = tmp_path / "responses.db"
    Written(path, Bounds(responses=10, bytes=10_000, age=100.0)).put(stored("a"), CONVERSATION)
    data = path.read_bytes()
    assert b"NOT NULL UNIQUE" in data
    path.write_bytes(data.replace(b"NOT NULL UNIQUE", b"NOT \xffULL UNIQUE"))
    with pytest.raises(InvalidOption, match=r"responses\.file"):
        SqliteStore(path, Bounds(responses=1, bytes=1, age=1))


def test_a_file_of_a_newer_mlxk_is_left_alone(tmp_path):
    database = sqlite3.connect(tmp_path / "responses.db")
    database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(InvalidOption, match="newer"):
        SqliteStore(tmp_path / "responses.db", Bounds(responses=1, bytes=1, age=1))


def test_the_file_of_an_older_mlxk_is_read(tmp_path):
    path = tmp_path / "responses.db"
    responses = Written(path, Bounds(responses=10, bytes=10_000, age=100.0))
    responses.put(stored("a"), CONVERSATION)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("UPDATE responses SET conversation = ?", (b'[{"role":"user","content":"Hi","name":null}]',))
        database.execute("ALTER TABLE responses DROP COLUMN client")
        database.execute("PRAGMA user_version=2")
    older = SqliteStore(path, Bounds(responses=10, bytes=10_000, age=100.0))
    assert older.find("a", "a") == stored("a")
    assert older.conversation("a", "a") == CONVERSATION


def test_a_conversation_is_read_as_it_was_stored(tmp_path):
    calls = tuple(ToolCall(id=id, name="f", arguments='{"a": "\\n{"}') for id in "ab")
    conversation = [
        Message(role="system", content="Line 1\nLine 2\r\u2028"),
        Message(role="user", content="", name="me"),
        Message(role="assistant", content="", reasoning="Hm", tool_calls=calls),
        Message(role="tool", content="[]", tool_call_id="a"),
    ]
    responses = Written(tmp_path / "responses.db", Bounds(responses=10, bytes=10_000, age=100.0))
    responses.put(stored("a"), conversation)
    assert responses.conversation("a", "a") == conversation


_OTHER = b'{"type":"message","role":"user","content":""}\n'


@pytest.mark.parametrize(
    "conversation",
    [
        _OTHER * 40_000,
        b"[" + b",".join([b'{ "role": "user", "content": "" }'] * 100_000) + b"]",
        b"[" * 5_000,
        b'{"type":"message","role":"user","content":"\xff"}\n',
        b'{"type":"message","role":"someone","content":""}\n',
        b'{"type":"message","role":"user","content":"","tool_calls":[1]}\n',
        b"1\n",
    ],
    ids=["many", "array", "deep", "text", "role", "field", "number"],
)
def test_what_another_program_stores_as_a_conversation_is_an_error_with_a_status(tmp_path, conversation):
    path = tmp_path / "responses.db"
    responses = Written(path, Bounds(responses=10, bytes=64 << 20, age=100.0))
    responses.put(stored("a"), CONVERSATION)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("UPDATE responses SET conversation = ?", (conversation,))
    with pytest.raises(StoreUnavailable, match="damaged or too large"):
        responses.conversation("a", "a")


@pytest.mark.parametrize("body", ["zeroblob(70 << 20)", "x'7b7d'", "x'ff'", 'CAST(\'{"id":"b"}\' AS BLOB)'])
def test_what_another_program_stores_as_a_response_is_an_error_with_a_status(tmp_path, body):
    path = tmp_path / "responses.db"
    responses = Written(path, Bounds(responses=10, bytes=1 << 30, age=100.0))
    responses.put(stored("a"), CONVERSATION)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(f"UPDATE responses SET body = {body}")
    with pytest.raises(StoreUnavailable, match="damaged or too large"):
        responses.find("a", "a")
    assert [responses.delete("a", "b"), responses.delete("a", "a"), responses.delete("a", "a")] == [False, True, False]


SMALL = Bounds(responses=10, bytes=10_000, age=100.0)


def with_one(folder):
    """The path of a file, and the store in it that has one response."""
    responses = Written(folder / "responses.db", SMALL)
    responses.put(stored("a"), CONVERSATION)
    return folder / "responses.db", responses


_ROW = "'a' id, 'a' owner, 1e12 stored, 1 size, zeroblob(1) body, zeroblob(1) input_items, zeroblob(1) conversation"


@pytest.mark.parametrize(
    "view",
    [
        f"SELECT 1 number, {_ROW}, '' client",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
        f"SELECT i number, {_ROW.replace(chr(39) + 'a' + chr(39) + ' id', 'i id')}, '' client FROM n",
    ],
    ids=["one", "endless"],
)
def test_a_view_in_the_place_of_the_table_is_not_read(tmp_path, view):
    path, responses = with_one(tmp_path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("DROP TABLE responses")
        database.execute(f"CREATE VIEW responses AS {view}")
    for read in (responses.find, responses.conversation):
        with pytest.raises(StoreUnavailable):
            read("a", "a")
    with pytest.raises(InvalidOption, match=r"responses\.file"):
        SqliteStore(path, SMALL)


def test_a_trigger_of_another_program_is_not_run(tmp_path):
    path, responses = with_one(tmp_path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("CREATE TRIGGER t AFTER INSERT ON responses BEGIN DELETE FROM responses; END")
    SqliteStore.put(responses, stored("b"), CONVERSATION)
    assert not responses.flush(0.5)
    assert responses.find("b", "a") == stored("b")  # it stays in memory
    assert responses.find("a", "a") == stored("a")


def test_a_table_of_another_program_is_left_alone(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db", isolation_level=None)) as database:
        database.execute("CREATE TABLE responses (number TEXT, id TEXT)")
    with pytest.raises(InvalidOption, match="another table"):
        SqliteStore(tmp_path / "other.db", Bounds(responses=1, bytes=1, age=1))


def test_a_response_that_is_too_large_for_the_file_does_not_stop_others(tmp_path, caplog):
    responses = Written(tmp_path / "responses.db", Bounds(responses=10, bytes=100_000, age=100.0))
    responses.put(stored("a"), [Message(role="user", content="\x01" * 40_000)])  # six bytes each as JSON
    responses.put(stored("b"), CONVERSATION)
    assert rows(tmp_path / "responses.db") == ["b"]
    assert "response a is not stored" in caplog.text


@pytest.mark.parametrize("bounds", [{"responses": 20}, {"bytes": 20 * stored_size(stored("a"), CONVERSATION)}])
def test_a_file_with_far_more_than_its_new_bounds_is_opened_at_once(tmp_path, bounds):
    path = tmp_path / "responses.db"
    Written(path, Bounds(responses=10**6, bytes=1 << 30, age=100.0)).put(stored("a"), CONVERSATION)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(
            "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 30000) "
            "INSERT INTO responses SELECT NULL, 'r' || i, owner, stored, size, body, input_items, conversation, '' "
            "FROM n, responses"
        )
    began = time.monotonic()
    SqliteStore(path, Bounds(**{"responses": 10**6, "bytes": 1 << 30, "age": 100.0} | bounds))
    assert time.monotonic() - began < 5
    assert rows(path) == [f"r{i}" for i in range(29981, 30001)]


_IDS = st.lists(st.text(max_size=3), max_size=9)


@given(_IDS, st.booleans(), st.integers(1, 10), st.text(max_size=3) | st.none())
def test_a_page_is_a_part_of_the_list(ids, descending, limit, after):
    items = [{"id": id, "content": '{"id":"'} for id in ids]
    found = page(encode_items(items), descending=descending, limit=limit, after=after)
    expected = ids[::-1] if descending else ids
    if after is not None:
        expected = expected[expected.index(after) + 1 :] if after in expected else []
    assert [json.loads(item)["id"] for item in found.items] == expected[:limit]
    assert found.has_more == (len(expected) > limit)
    assert (found.first_id, found.last_id) == ((expected[0], expected[:limit][-1]) if expected else (None, None))


@pytest.fixture
def file(tmp_path):
    """`file()`: a store in the same file each time."""
    bounds = Bounds(responses=10, bytes=10_000, age=100.0)
    return lambda: SqliteStore(tmp_path / "responses.db", bounds)


@contextlib.contextmanager
def locked(path, kind="IMMEDIATE"):
    """Another process that writes to the file and does not end."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(f"BEGIN {kind}")
        yield
        database.execute("ROLLBACK")


def test_a_locked_file_delays_no_response_and_loses_none(file, tmp_path):
    responses = file()
    with locked(tmp_path / "responses.db"):
        for id in "abc":
            responses.put(stored(id), CONVERSATION)  # at once: it is called where all streams are written
        assert responses.find("b", "a") == stored("b")
        assert responses.delete("b", "a")
        assert responses.find("b", "a") is None
        assert rows(tmp_path / "responses.db") == []
    assert responses.flush(WAIT)
    assert rows(tmp_path / "responses.db") == ["a", "c"]


def test_a_file_that_is_locked_at_the_start_is_opened_later(file, tmp_path):
    before = file()
    before.put(stored("before"), CONVERSATION)
    assert before.flush(WAIT)
    with locked(tmp_path / "responses.db"):
        responses = file()
        responses.put(stored("a"), CONVERSATION)
        assert responses.find("a", "a") == stored("a")
        with pytest.raises(StoreUnavailable):
            responses.find("before", "a")
    assert responses.flush(WAIT)
    assert responses.find("before", "a") == stored("before")
    assert sorted(rows(tmp_path / "responses.db")) == ["a", "before"]


def test_readers_of_a_locked_file_do_not_all_wait(file, tmp_path):
    """Each of them occupied a worker of the server for two seconds."""
    responses = file()
    responses.put(stored("a"), CONVERSATION)
    assert responses.flush(WAIT)
    with locked(tmp_path / "responses.db", "EXCLUSIVE"):
        with pytest.raises(StoreUnavailable):
            responses.find("a", "a")
        began = time.monotonic()
        for _ in range(50):
            with pytest.raises(StoreUnavailable):
                responses.conversation("a", "a")
        assert time.monotonic() - began < 1.5
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        with contextlib.suppress(StoreUnavailable):
            assert responses.find("a", "a") == stored("a")
            return
        time.sleep(0.1)
    pytest.fail("it is not read again")


def test_a_file_that_is_deleted_while_the_server_runs_is_made_again(file, tmp_path):
    responses = file()
    responses.put(stored("a"), CONVERSATION)
    assert responses.flush(WAIT)
    (tmp_path / "responses.db").unlink()
    responses.put(stored("b"), CONVERSATION)
    assert responses.flush(WAIT)
    assert rows(tmp_path / "responses.db") == ["b"]
    assert responses.find("b", "a") == stored("b")
    assert responses.find("a", "a") is None


def test_what_a_locked_file_does_not_take_is_bounded(file, tmp_path, caplog):
    responses = file()
    with locked(tmp_path / "responses.db"):
        for number in range(30):
            responses.put(stored(str(number), size=2000), CONVERSATION)
        assert [number for number in range(30) if responses.find(str(number), "a")] == [26, 27, 28, 29]
    assert len([record for record in caplog.records if "too many" in record.message]) == 1


def test_two_servers_share_a_file(file, tmp_path):
    one, other = file(), file()
    for number in range(5):
        one.put(stored(f"one-{number}"), CONVERSATION)
        other.put(stored(f"other-{number}"), CONVERSATION)
    assert one.flush(WAIT)
    assert other.flush(WAIT)
    assert other.find("one-4", "a") == stored("one-4")
    assert one.delete("other-4", "a")
    assert one.flush(WAIT)
    assert other.find("other-4", "a") is None
    assert len(rows(tmp_path / "responses.db")) == 9


def test_a_file_that_is_overwritten_while_the_server_runs_is_an_error_with_a_status(file, tmp_path):
    responses = file()
    responses.put(stored("a", size=9000), CONVERSATION)
    assert responses.flush(WAIT)
    size = (tmp_path / "responses.db").stat().st_size
    (tmp_path / "responses.db").write_bytes(b"\xff" * size)
    with pytest.raises(StoreUnavailable):
        responses.find("a", "a")
    responses.put(stored("b"), CONVERSATION)
    assert responses.find("b", "a") == stored("b")


def test_a_value_of_another_type_is_an_error_with_a_status(file, tmp_path):
    responses = file()
    responses.put(stored("a"), CONVERSATION)
    assert responses.flush(WAIT)
    with contextlib.closing(sqlite3.connect(tmp_path / "responses.db")) as database:
        database.execute("UPDATE responses SET body = 'text', conversation = 1")
        database.commit()
    for read in (responses.find, responses.conversation):
        with pytest.raises(StoreUnavailable):
            read("a", "a")


def test_no_file_of_the_store_is_mapped_into_memory(file, tmp_path):
    """Whoever truncates a mapped file ends the process."""
    responses = file()
    responses.put(stored("a"), CONVERSATION)
    assert responses.flush(WAIT)
    assert responses.find("a", "a") == stored("a")
    assert not list(tmp_path.glob("*-shm"))
