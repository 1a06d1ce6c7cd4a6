"""Saved chats: one SQLite database that only its owner can read."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlxk_core.api.errors import Kind, MlxkError
from mlxk_core.api.generation import Message

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE chats (
  id INTEGER PRIMARY KEY, name TEXT UNIQUE, model TEXT NOT NULL, system TEXT,
  created REAL NOT NULL, updated REAL NOT NULL
);
CREATE TABLE messages (
  chat INTEGER NOT NULL REFERENCES chats(id) ON DELETE CASCADE, position INTEGER NOT NULL,
  role TEXT NOT NULL, content TEXT NOT NULL, reasoning TEXT, PRIMARY KEY (chat, position)
);
"""
_BUSY = 10.0  # seconds to wait for another mlxk that writes
_TITLE = 60  # characters
_MAX_ID_DIGITS = 18  # SQLite's numbers have 64 bits
_SURROGATE = re.compile("[\ud800-\udfff]")


class ChatNotFound(MlxkError):
    """No saved chat has that name or number."""

    kind = Kind("chat_not_found", 1, 404)


class ChatStoreError(MlxkError):
    """The database of saved chats cannot be read or written."""

    kind = Kind("chat_store_error", 1, 500)


@dataclass(frozen=True, kw_only=True)
class SavedChat:
    """A saved chat without its messages. `created` and `updated` are Unix times in seconds."""

    id: int
    name: str | None
    model: str
    system: str | None
    created: float
    updated: float
    messages: int
    title: str
    """The name, else the first line of the first message."""


class ChatStore:
    """Reads and writes saved chats. The file is created with the first chat that is saved.

    `file` is None for a user without a home folder: then there are no chats, and saving one is an error.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file

    def save(
        self,
        id: int | None,
        *,
        model: str,
        system: str | None,
        messages: Sequence[Message],
        name: str | None = None,
    ) -> int:
        """Write a chat, new if `id` is None or was deleted meanwhile, and return its id. `name` None keeps its name.

        A chat that has neither messages nor a name is deleted.

        Raises `ChatStoreError`, also when another chat has that name.
        """
        now = time.time()
        with self._open(create=True) as db:
            if name is not None:
                name = _encodable(name)
                taken = db.execute("SELECT id FROM chats WHERE name = ?", (name,)).fetchone()
                if taken and taken[0] != id:
                    raise ChatStoreError(
                        f"A saved chat is named `{name}` already. `mlxk chats delete {shlex.quote(name)}` deletes it.",
                        name=name,
                    )
            changed = db.execute(
                "UPDATE chats SET model = ?, system = ?, updated = ?, name = COALESCE(?, name) WHERE id = ?",
                (model, system, now, name, id),
            )
            if not changed.rowcount:
                added = db.execute(
                    "INSERT INTO chats (name, model, system, created, updated) VALUES (?, ?, ?, ?, ?)",
                    (name, model, system, now, now),
                )
                id = added.lastrowid
            assert id is not None
            db.execute("DELETE FROM messages WHERE chat = ?", (id,))
            db.executemany(
                "INSERT INTO messages VALUES (?, ?, ?, ?, ?)",
                [(id, at, each.role, each.content, each.reasoning) for at, each in enumerate(messages)],
            )
            if not messages:
                db.execute("DELETE FROM chats WHERE id = ? AND name IS NULL", (id,))
            return id

    def chats(self, *, containing: str | None = None) -> list[SavedChat]:
        """Return the saved chats, the latest first; with `containing`, those whose name or text contains it."""
        where, values = "", tuple[str, ...]()
        if containing is not None:
            where = (
                "WHERE instr(casefold(CAST(coalesce(c.name, '') AS BLOB)), ?) OR EXISTS"
                " (SELECT 1 FROM messages m WHERE m.chat = c.id AND instr(casefold(CAST(m.content AS BLOB)), ?))"
            )
            values = (_encodable(containing).casefold(),) * 2
        with self._open() as db:
            return [
                _saved_chat(row) for row in db.execute(f"{_SELECT} {where} ORDER BY c.updated DESC, c.id DESC", values)
            ]

    def find(self, reference: str | None = None) -> SavedChat:
        """Return the chat of that name or number, the latest one for None. Raises `ChatNotFound`."""
        with self._open() as db:
            if reference is None:
                row = db.execute(f"{_SELECT} ORDER BY c.updated DESC, c.id DESC LIMIT 1").fetchone()
                if row is None:
                    raise ChatNotFound("There is no saved chat yet.")
                return _saved_chat(row)
            row = db.execute(f"{_SELECT} WHERE c.name = ?", (_encodable(reference),)).fetchone()
            if row is None and reference.isdecimal() and len(reference) <= _MAX_ID_DIGITS:
                row = db.execute(f"{_SELECT} WHERE c.id = ?", (int(reference),)).fetchone()
        if row is None:
            raise ChatNotFound(f"No saved chat `{reference}`. `mlxk chats` lists them.", chat=reference)
        return _saved_chat(row)

    def messages(self, id: int) -> list[Message]:
        """Return the messages of a chat in order."""
        with self._open() as db:
            rows = db.execute(
                "SELECT CAST(role AS TEXT), CAST(content AS TEXT), CAST(reasoning AS TEXT)"
                " FROM messages WHERE chat = ? ORDER BY position",
                (id,),
            ).fetchall()
        return [Message(role=role, content=content, reasoning=reasoning) for role, content, reasoning in rows]

    def delete(self, ids: Sequence[int]) -> None:
        """Delete chats; their text is overwritten in the file."""
        with self._open() as db:
            db.executemany("DELETE FROM chats WHERE id = ?", [(id,) for id in ids])

    @contextlib.contextmanager
    def _open(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        """Open a transaction; on an empty database in memory if there is no file."""
        file = self._file
        if file is None and create:
            raise ChatStoreError("Chats cannot be saved: no home folder. Set HOME or XDG_STATE_HOME.")
        try:
            if file is not None and create:
                file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            db = sqlite3.connect(file if file is not None and file.exists() else ":memory:", timeout=_BUSY)
            db.row_factory = sqlite3.Row
            db.text_factory = _decoded
            # lower() knows ASCII only. It is given bytes: text that is not UTF-8 would be an error.
            db.create_function("casefold", 1, lambda data: _decoded(data).casefold(), deterministic=True)
            try:
                db.execute("PRAGMA foreign_keys = ON")
                db.execute("PRAGMA secure_delete = ON")
                with db:
                    db.execute("BEGIN IMMEDIATE" if create else "BEGIN")
                    _prepare(db)
                    yield db
            finally:
                db.close()
        except (OSError, sqlite3.Error, UnicodeDecodeError) as error:  # the last of a damaged schema
            raise ChatStoreError(f"Saved chats cannot be used: {file}: {error}.", path=str(file)) from error


_SELECT = """
SELECT c.id, CAST(c.name AS TEXT) AS name, CAST(c.model AS TEXT) AS model, CAST(c.system AS TEXT) AS system,
  CAST(c.created AS REAL) AS created, CAST(c.updated AS REAL) AS updated,
  (SELECT count(*) FROM messages m WHERE m.chat = c.id) AS messages,
  (SELECT CAST(content AS TEXT) FROM messages m WHERE m.chat = c.id AND m.role = 'user' ORDER BY position LIMIT 1)
    AS first_message
FROM chats c
"""


def _encodable(text: str) -> str:
    """Return `text` as chats are saved: bytes that are not UTF-8, which Python keeps as lone surrogates, are U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)


def _decoded(data: bytes) -> str:
    """Return text of the database: a few damaged bytes must not take away the other chats."""
    return data.decode("utf-8", errors="replace")


def _prepare(db: sqlite3.Connection) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        for statement in filter(str.strip, _SCHEMA.split(";")):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
    elif version > _SCHEMA_VERSION:
        raise sqlite3.DatabaseError("it was written by a newer version of mlxk")


def _saved_chat(row: sqlite3.Row) -> SavedChat:
    name: str | None = row["name"]
    line = " ".join((row["first_message"] or "").split())
    return SavedChat(
        id=row["id"],
        name=name,
        model=row["model"],
        system=row["system"],
        created=row["created"],
        updated=row["updated"],
        messages=row["messages"],
        title=name or (line if len(line) <= _TITLE else line[: _TITLE - 1] + "…") or "(empty)",
    )
