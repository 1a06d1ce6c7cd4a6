"""A child process of our own: it does one job, reports in lines, and never outlives us.

Work that cannot be stopped from inside (threads in the middle of network reads, a library that finishes what it has
begun) is done in a child, so that Ctrl-C stops it at once. The child has a session of its own: Ctrl-C in a terminal
reaches the parent alone, and the parent ends the child. Its standard input is the leash: when the parent dies, however
it dies, the child reads the end of it and goes too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import IO, Any, Self

from mlxk_core.api.errors import Kind, MlxkError, kind_of

Job = dict[str, Any]
Report = Callable[[Mapping[str, Any]], None]


class JobFailed(MlxkError):
    """The child's error as the parent raises it. It keeps the kind of what the child ran into."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        super().__init__(told["message"], **told["details"])
        self.kind = Kind(*told["kind"])


def as_report(error: Exception) -> dict[str, Any]:
    """What a child reports of an error, for `JobFailed`."""
    details = dict(error.details) if isinstance(error, MlxkError) else {}
    return {"kind": list(kind_of(error)), "message": str(error) or type(error).__name__, "details": details}


class Worker:
    """The parent's side. `module` is run with `python -m`; it calls `serve`. With `show_stderr` the child's standard
    error is ours: what it draws there is seen."""

    def __init__(self, module: str, job: Mapping[str, Any], *, show_stderr: bool = False) -> None:
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            # -P: a file in the working directory must not shadow a library.
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if show_stderr else self._stderr,
            start_new_session=True,
        )
        self._send(job)

    def reports(self) -> Iterator[dict[str, Any]]:
        """What the child reports, until it has ended."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            yield json.loads(line)
        self._process.wait()

    def last_words(self) -> str:
        """The last line the child wrote to standard error, for the case that it reported nothing."""
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self._process.returncode}"

    def _send(self, job: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it could not even start: `reports` ends at once, and `last_words` says why

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Ends the child, if it has not ended by itself."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass


def serve(
    work: Callable[[dict[str, Any], Report], None], *, orphaned: Callable[[dict[str, Any]], Sequence[str]]
) -> None:
    """The child's side: reads the job, does the work, and ends.

    When the parent has gone, the process becomes the command that `orphaned` names. To exec it drops every thread,
    connection and file lock in one step, whatever they were doing; that command can then tidy up alone.
    """
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no report
    lock = threading.Lock()

    def report(message: Mapping[str, Any]) -> None:
        with lock:
            try:
                out.write(json.dumps(message) + "\n")
                out.flush()
            except BrokenPipeError:
                pass  # the parent has gone; the leash will tell

    job = json.loads(sys.stdin.readline())

    def watch() -> None:
        while sys.stdin.read(1):
            pass
        command = list(orphaned(job))
        os.execv(command[0], command)

    threading.Thread(target=watch, daemon=True).start()
    work(job, report)
    out.close()
    # The work is done and told; a thread that a library left behind is no reason to stay.
    os._exit(0)
