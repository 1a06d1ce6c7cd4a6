"""Saved chats: the store, and the command that shows them."""

import contextlib
import json
import sqlite3

import pytest

from mlxk_core.api.generation import Message
from mlxk_run import plugin
from mlxk_run.chat_table import chat_table
from mlxk_run.paths import chats_file
from mlxk_run.store import ChatNotFound, ChatStore, ChatStoreError
from mlxk_run.terminal_writer import cell_length

TURN = [Message(role="user", content="Why?"), Message(role="assistant", content="Because.", reasoning="Hm.")]


@pytest.fixture
def store(host):
    host.register(plugin, name="run")
    return ChatStore(chats_file())


def test_a_chat_comes_back_as_it_was_saved(store):
    id = store.save(None, model="tiny", system="Be brief.", messages=TURN, name="mine")
    assert store.messages(id) == TURN
    saved = store.find("mine")
    assert (saved.id, saved.model, saved.system, saved.messages) == (id, "tiny", "Be brief.", 2)
    assert store.find() == store.find(str(id)) == saved


def test_saving_again_replaces_the_messages_and_keeps_the_name(store):
    id = store.save(None, model="tiny", system=None, messages=TURN, name="mine")
    assert store.save(id, model="tiny", system=None, messages=TURN * 2) == id
    assert (store.find("mine").messages, len(store.chats())) == (4, 1)


@pytest.mark.parametrize("updated", ["soon", 1e18, float("inf"), -1e15, b"x"])
def test_a_chat_with_an_odd_date_is_listed(store, cli, updated):
    store.save(None, model="tiny", system=None, messages=TURN)
    with contextlib.closing(sqlite3.connect(chats_file())) as database:
        database.execute("UPDATE chats SET updated = ?", (updated,))
        database.execute("UPDATE messages SET content = ?", (b"Why?",))
        database.commit()
    result = cli("chats")
    assert (result.code, "Why?" in result.stdout) == (0, True)


def test_a_name_belongs_to_one_chat(store):
    store.save(None, model="tiny", system=None, messages=TURN, name="mine")
    with pytest.raises(ChatStoreError, match="mine"):
        store.save(None, model="tiny", system=None, messages=TURN, name="mine")
    assert len(store.chats()) == 1


def test_a_number_too_long_for_an_id_names_no_chat(store):
    id = store.save(None, model="tiny", system=None, messages=TURN)
    assert store.find(f"{id:018}").id == id
    with pytest.raises(ChatNotFound):
        store.find(f"{id:018}9")


def test_only_the_owner_can_read_the_file_and_what_is_deleted_is_gone(store):
    id = store.save(None, model="tiny", system=None, messages=[Message(role="user", content="secret words")])
    assert chats_file().stat().st_mode & 0o077 == 0
    assert b"secret words" in chats_file().read_bytes()
    store.delete([id])
    assert b"secret words" not in chats_file().read_bytes()
    with pytest.raises(ChatNotFound):
        store.find(str(id))


def test_a_damaged_file_is_an_error_and_stays(store, cli):
    chats_file().parent.mkdir(parents=True)
    chats_file().write_bytes(b"not a database at all" * 100)
    result = cli("chats")
    assert result.code == 1 and str(chats_file()) in result.stderr
    assert chats_file().read_bytes().startswith(b"not a database")


def test_a_damaged_schema_is_an_error(store, cli):
    store.save(None, model="tiny", system=None, messages=TURN)
    data = chats_file().read_bytes()
    assert b"NOT NULL REFERENCES" in data
    chats_file().write_bytes(data.replace(b"NOT NULL REFERENCES", b"NOT \xffULL REFERENCES"))
    assert cli("chats", "--json").json["error"]["type"] == "chat_store_error"


def test_text_that_is_not_utf8_takes_away_nothing_else(store, cli):
    ids = [store.save(None, model="tiny", system=None, messages=TURN, name=name) for name in ("mine", "yours")]
    for value in (b"W\xffy?", "CAST(x'57ff793f' AS TEXT)"):
        with contextlib.closing(sqlite3.connect(chats_file())) as database:
            text, values = ("?", (value,)) if isinstance(value, bytes) else (value, ())
            for table, column in (("messages", "content"), ("messages", "reasoning"), ("chats", "name")):
                key = "chat" if table == "messages" else "id"
                database.execute(f"UPDATE {table} SET {column} = {text} WHERE {key} = ?", (*values, ids[0]))
            database.commit()
        assert cli("chats", "--json").json["data"]["count"] == 2
        assert cli("chats", "search", "BECAUSE", "--json").json["data"]["count"] == 1
        for form in ("markdown", "json", "openai"):
            assert "W\ufffdy?" in cli("chats", "export", str(ids[0]), "--format", form).stdout


def test_without_a_file_there_are_no_chats_and_none_is_made(store, cli):
    assert cli("chats", "--json").json["data"] == {"chats": [], "count": 0}
    assert cli("chats", "show", "1").code == 1
    assert not chats_file().exists()


def test_the_command_lists_searches_shows_exports_and_deletes(store, cli, tmp_path):
    store.save(None, model="org/tiny", system=None, messages=TURN, name="mine")
    store.save(None, model="org/tiny", system=None, messages=[Message(role="user", content="The \x1b[31mSky")])
    assert [chat["title"] for chat in cli("chats", "--json").json["data"]["chats"]] == ["The \x1b[31mSky", "mine"]
    assert "\x1b" not in cli("chats").stdout
    assert cli("chats", "search", "SKY", "--json").json["data"]["count"] == 1
    assert cli("chats", "search", "MINE", "--json").json["data"]["count"] == 1
    assert "Because." in cli("chats", "show", "mine").stdout
    exported = json.loads(cli("chats", "export", "mine", "--format", "openai").stdout)
    assert exported == [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]
    assert cli("chats", "export", "mine", "-o", str(tmp_path / "chat.md")).stdout == ""
    assert "Because." in (tmp_path / "chat.md").read_text()
    assert cli("chats", "delete", "mine", input="y\n").code == 2  # a pipe is not a person
    assert cli("chats", "delete", "mine", "2", "-f", "--json").json["data"]["deleted"] == [1, 2]
    assert cli("chats", "delete").code == 2


@pytest.mark.parametrize("name", ["\udcff", "\ud800"])
def test_a_chat_is_found_by_bytes_that_are_not_utf8(store, cli, name):
    assert cli("chats", "show", name, "--json").json["error"]["type"] == "chat_not_found"
    assert cli("chats", "delete", name, "-f", "--json").json["error"]["type"] == "chat_not_found"
    assert cli("chats", "search", name, "--json").json["data"]["count"] == 0
    id = store.save(None, model="tiny", system=None, messages=TURN, name=name)
    assert store.find(name).id == store.chats(containing=name)[0].id == id


def test_search_knows_upper_and_lower_case_of_all_letters(store, cli):
    store.save(None, model="tiny", system=None, messages=[Message(role="user", content="Grüße aus ÅRHUS")])
    for text in ("GRÜSSE", "århus"):
        assert cli("chats", "search", text, "--json").json["data"]["count"] == 1
    assert cli("chats", "search", "oslo", "--json").json["data"]["count"] == 0


HEADINGS = ("ID", "MODEL", "MESSAGES", "UPDATED", "CHAT")
LONG_ROW = ("17", "Qwen3-Coder-30B-A3B-Instruct-4bit", "2", "2026-11-28 23:32", "Why is 空 blue? " + "Please say. " * 9)


@pytest.mark.parametrize("columns", [30, 40, 60, 80, 140, None])
def test_a_saved_chat_takes_one_line_of_any_terminal(columns):
    heading, line = chat_table([HEADINGS, LONG_ROW], columns)
    assert columns is None or max(map(cell_length, (heading, line))) <= columns
    assert line.startswith("17  Qwen3-Coder") and "Why is 空" in line
    assert (LONG_ROW[1] in line) == (columns in (140, None))
    assert (LONG_ROW[3] in line) == (columns not in (30, 40))


def test_short_chats_lose_no_column():
    assert "UPDATED" in chat_table([HEADINGS, ("1", "tiny", "2", "2026-11-28 23:32", "Hi")], 60)[0]
