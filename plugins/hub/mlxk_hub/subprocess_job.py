"""Jobs in a child process, which Ctrl-C ends at once.

Work that cannot be stopped from inside (threads in network reads, a library that finishes what it began) runs in a
child. The child has its own session, so Ctrl-C in a terminal reaches the parent only, and the parent ends the child.
The child watches its standard input: end of file means that the parent is gone, and the child exits.

Both sides exchange msgspec structs, as JSON lines.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import IO, Any, Generic, Self, TypeVar

import msgspec

from mlxk_core.api.errors import Kind, MlxkError, kind_of

J = TypeVar("J", bound=msgspec.Struct)
R = TypeVar("R", bound=msgspec.Struct)


class Failure(msgspec.Struct, tag="failure", frozen=True):
    """The error that ended a job, as the child reports it."""

    kind: Kind
    message: str
    details: dict[str, Any]

    @classmethod
    def of(cls, error: Exception) -> Failure:
        details = dict(error.details) if isinstance(error, MlxkError) else {}
        return cls(kind_of(error), str(error) or type(error).__name__, details)


class JobFailed(MlxkError):
    """The child's error, raised in the parent. It has the kind and the details of the original."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message, **failure.details)
        self.kind = failure.kind


class JobProcess(Generic[R]):
    """The parent's side: runs `python -m module`, which calls `serve_job`.

    `reports` is the union of the structs the child may report. With `show_stderr` the child writes to our standard
    error, for libraries that draw there.
    """

    def __init__(self, module: str, job: msgspec.Struct, reports: Any, *, show_stderr: bool = False) -> None:
        self._decoder = msgspec.json.Decoder(reports | Failure)
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

    def reports(self) -> Iterator[R]:
        """Yield the child's reports until it exits. Raises `JobFailed` with its error."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            report = self._decoder.decode(line)
            if isinstance(report, Failure):
                raise JobFailed(report)
            yield report
        if self._process.wait() != 0:
            raise MlxkError(f"The process ended unexpectedly: {self._last_line()}.", reason="crashed")

    def _last_line(self) -> str:
        """Return the last line on the child's standard error, else its exit code."""
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self._process.returncode}"

    def _send(self, job: msgspec.Struct) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(job) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it could not start; `reports` says why

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the child if it still runs."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass


def serve_job(
    job_type: type[J],
    work: Callable[[J, Callable[[msgspec.Struct], None]], None],
    *,
    orphan_command: Callable[[J], Sequence[str]],
) -> None:
    """Run the child's side: read the job, call `work(job, report)`, and exit. An exception of `work` is reported.

    When the parent dies, the process becomes `orphan_command(job)`: exec drops every thread, connection and file lock
    in one step, and that command can then clean up alone.
    """
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library may print; that is not a report
    lock = threading.Lock()

    def report(message: msgspec.Struct) -> None:
        with lock:
            try:
                out.write(msgspec.json.encode(message) + b"\n")
                out.flush()
            except BrokenPipeError:
                pass  # the parent is gone; `watch` notices

    job = msgspec.json.decode(sys.stdin.readline(), type=job_type)

    def watch() -> None:
        while sys.stdin.read(1):
            pass
        command = list(orphan_command(job))
        os.execv(command[0], command)

    threading.Thread(target=watch, daemon=True).start()
    try:
        work(job, report)
    except Exception as error:
        report(Failure.of(error))
    out.close()
    # A thread that a library left running must not keep the process alive.
    os._exit(0)
