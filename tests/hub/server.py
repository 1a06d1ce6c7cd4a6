"""A model hub over HTTP for tests: what huggingface_hub needs to pull and push, with the faults a real one has.

It listens on 127.0.0.1, keeps everything in memory and writes down every request. Answers, headers and error codes
are those of the public hub as huggingface_hub 2.4.0 reads them. Of Xet there is the hub's part only:
`xet_url` is where the storage would be.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit

LFS_SUFFIXES = (".safetensors", ".gguf", ".bin", ".npz")


@lru_cache(maxsize=64)
def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@lru_cache(maxsize=64)
def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def is_lfs(name: str) -> bool:
    return name.endswith(LFS_SUFFIXES)


def etag(name: str, content: bytes) -> str:
    return sha256(content) if is_lfs(name) else git_sha1(content)


@dataclass
class Account:
    """Who a token belongs to, and what the token may do."""

    name: str = "someone"
    reads_gated: bool = True
    writes: bool = True


@dataclass
class Repository:
    name: str
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    gated: str | None = None  # "auto", "manual"
    private: bool = False
    disabled: bool = False
    allowed: set[str] = field(default_factory=set)  # accounts on the list of a gated or private repository
    pending: set[str] = field(default_factory=set)  # accounts whose request waits for a review
    claimed_sizes: dict[str, int] = field(default_factory=dict)  # sizes the listing lies about
    messages: list[str] = field(default_factory=list)  # of every commit through the API

    def commit(self, files: Mapping[str, bytes], *, branch: str = "main") -> str:
        """A new commit that holds exactly `files`."""
        seed = f"{self.name} {len(self.commits)} {sorted((n, etag(n, c)) for n, c in files.items())}"
        sha = hashlib.sha1(seed.encode()).hexdigest()
        self.commits[sha] = dict(files)
        self.branches[branch] = sha
        return sha

    def sha(self, revision: str) -> str | None:
        return self.branches.get(revision) or (revision if revision in self.commits else None)

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return self.commits[self.sha(revision)]


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    token: str | None
    range: str | None
    status: int


@dataclass
class Fault:
    """What happens to requests whose "METHOD path" matches `pattern`, `times` times (None: always)."""

    pattern: re.Pattern[str]
    act: Callable[[Handler], bool]  # True: the request is dealt with
    times: int | None = None


class Hub:
    """The server. `url` is what HF_ENDPOINT is set to."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.tokens: dict[str, Account] = {}
        self.requests: list[Request] = []
        self.page_size = 1000
        self.has_auth_check = True
        self.xet_url: str | None = None  # set: large files are said to be in a Xet storage at that address
        self.chunk = 64 * 1024
        self.pause = 0.0  # seconds between two chunks of a file, to be caught in the middle of it
        self.objects: dict[str, bytes] = {}  # LFS objects uploaded, by sha256
        self.hanging = threading.Event()  # somebody waits for an answer that will not come
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.hub = self
        # Large files come from another host, as they do in the world: huggingface_hub sends no token there.
        self._cdn = _Server(("127.0.0.1", 0), Handler)
        self._cdn.hub = self
        self.url, self.cdn_url = (f"http://127.0.0.1:{one.server_address[1]}" for one in (self._server, self._cdn))
        self._threads = [
            threading.Thread(target=one.serve_forever, args=(0.05,), daemon=True) for one in (self._server, self._cdn)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        for one in (self._server, self._cdn):
            one.closing.set()
            one.shutdown()
            one.server_close()
        for thread in self._threads:
            thread.join()

    # --- what a test arranges ---

    def add(self, name: str, files: Mapping[str, bytes], **facts: object) -> Repository:
        repository = Repository(name, **facts)
        repository.commit(files)
        self.repositories[name] = repository
        return repository

    def account(self, token: str, **facts: object) -> Account:
        self.tokens[token] = Account(**facts)
        return self.tokens[token]

    def fails(
        self, pattern: str, status: int, *, times: int | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Requests like `pattern` are answered with `status`."""
        self._add_fault(pattern, lambda handler: handler.error(status, headers=headers), times)

    def hangs(self, pattern: str, *, times: int | None = None, token: str | None = None) -> None:
        """Requests like `pattern`, with `token` those that send it, get no answer for as long as the hub lives."""

        def hang(handler: Handler) -> bool:
            if token is not None and handler.token != token:
                return False
            self.hanging.set()
            self._server.closing.wait()
            handler.close_connection = True
            return True

        self._add_fault(pattern, hang, times)

    def answers_with(
        self, pattern: str, body: bytes, content_type: str = "text/html", *, status: int = 200, **headers: str
    ) -> None:
        """Requests like `pattern` get `body`, as from something that is no hub."""
        sent = {"Content-Type": content_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
        self._add_fault(pattern, lambda handler: handler.send(status, body, sent), None)

    def never_ends(self, pattern: str, piece: bytes, *, status: int = 200, **headers: str) -> None:
        """Requests like `pattern` get `piece` again and again, until the client leaves or the hub closes."""

        def act(handler: Handler) -> bool:
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            handler.close_connection = True
            if handler.command != "HEAD":
                while not self._server.closing.is_set():
                    handler.wfile.write(piece)
            return True

        self._add_fault(pattern, act, None)

    def redirects(self, pattern: str, url: str) -> None:
        """Requests like `pattern` are sent to `url`."""
        self._add_fault(pattern, lambda handler: handler.send(302, b"", {"Location": url}), None)

    def answers_before(self, pattern: str, happens: Callable[[], object]) -> None:
        """Something happens when the first request like `pattern` comes, before it is answered."""

        def act(handler: Handler) -> bool:
            happens()
            return False

        self._add_fault(pattern, act, 1)

    def cuts(self, pattern: str, after: int, *, times: int | None = 1, reset: bool = False) -> None:
        """The connection of requests like `pattern` ends after `after` bytes of the file."""

        def cut(handler: Handler) -> bool:
            handler.cut_after, handler.cut_resets = after, reset
            return False

        self._add_fault(pattern, cut, times)

    def stalls(self, pattern: str, after: int) -> threading.Event:
        """The next request like `pattern` gets `after` bytes of the file and then no more, for as long as the hub
        lives or until the event is set."""
        go_on = threading.Event()

        def stall(handler: Handler) -> bool:
            handler.stalls_after, handler.goes_on = after, go_on
            return False

        self._add_fault(pattern, stall, 1)
        return go_on

    def ignores_ranges(self, pattern: str) -> None:
        def ignore(handler: Handler) -> bool:
            handler.ranges = False
            return False

        self._add_fault(pattern, ignore, None)

    def _add_fault(self, pattern: str, act: Callable[[Handler], bool], times: int | None) -> None:
        self._faults.append(Fault(re.compile(pattern), act, times))

    def faults_for(self, request: str) -> list[Fault]:
        with self._lock:
            hit = [fault for fault in self._faults if fault.times != 0 and fault.pattern.search(request)]
            for fault in hit:
                if fault.times:
                    fault.times -= 1
            return hit

    def find(self, name: str) -> Repository | None:
        """Like the real hub, it does not care about upper and lower case."""
        return next((one for one in self.repositories.values() if one.name.casefold() == name.casefold()), None)

    # --- what a test looks at ---

    def asked(self, pattern: str) -> list[Request]:
        """The requests whose "METHOD path" matches `pattern`, in order."""
        return [one for one in list(self.requests) if re.search(pattern, f"{one.method} {one.path}")]

    @contextmanager
    def watching(self) -> Iterator[list[Request]]:
        start = len(self.requests)
        seen: list[Request] = []
        yield seen
        seen.extend(self.requests[start:])


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, *args: object) -> None:
        self.closing = threading.Event()
        super().__init__(*args)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that left in the middle is what some tests are about."""


class _Refused(Exception):
    def __init__(self, status: int, code: str | None = None, message: str = "") -> None:
        self.status, self.code, self.message = status, code, message


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    cut_after: int | None = None
    cut_resets = False
    stalls_after: int | None = None
    goes_on: threading.Event
    ranges = True

    @property
    def hub(self) -> Hub:
        return self.server.hub

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.cut_after, self.stalls_after, self.ranges = None, None, True
        parts = urlsplit(self.path)
        self.route_path, self.query = unquote(parts.path), parse_qs(parts.query)
        self.raw_path = parts.path
        length = int(self.headers.get("Content-Length") or 0)
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = self._read_chunks()
        else:
            self.body = self.rfile.read(length) if length else b""
        for fault in self.hub.faults_for(f"{self.command} {self.route_path}"):
            if fault.act(self):
                return
        try:
            self._authenticate()
            self._route()
        except _Refused as refused:
            headers = {"X-Error-Message": refused.message} if refused.message else {}
            if refused.code:
                headers["X-Error-Code"] = refused.code
            self.error(refused.status, headers=headers, message=refused.message)

    do_HEAD = do_POST = do_PUT = do_GET

    def _read_chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().strip(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    # --- answers ---

    def send(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bool:
        self._remember(status)
        self.send_response(status)
        headers = {"Content-Length": str(len(body)), **(headers or {})}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        return True

    def json(self, value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> bool:
        return self.send(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def error(self, status: int, *, headers: Mapping[str, str] | None = None, message: str = "") -> bool:
        return self.json({"error": message or f"status {status}"}, status, headers)

    def _remember(self, status: int) -> None:
        self.hub.requests.append(Request(self.command, self.route_path, self.token, self.headers.get("Range"), status))

    # --- who asks ---

    @property
    def token(self) -> str | None:
        header = self.headers.get("Authorization") or ""
        return header.removeprefix("Bearer ") or None

    def _authenticate(self) -> None:
        if self.token is not None and self.token not in self.hub.tokens:
            raise _Refused(401, None, "Invalid credentials in Authorization header")

    @property
    def account(self) -> Account | None:
        return self.hub.tokens.get(self.token or "")

    def _repository(self, name: str) -> Repository:
        repository = self.hub.find(name)
        hidden = repository and repository.private and (not self.account or self.account.name not in repository.allowed)
        if repository is None or hidden:
            raise _Refused(404 if self.account else 401, "RepoNotFound", "Repository not found")
        if repository.disabled:
            raise _Refused(403, None, "Access to this resource is disabled.")
        return repository

    def _readable(self, name: str) -> Repository:
        """The repository if its files may be read: this is what a gated one refuses, and only this."""
        repository = self._repository(name)
        if not repository.gated:
            return repository
        account = self.account
        if account is None:
            raise _Refused(
                401,
                "GatedRepo",
                f"Access to model {name} is restricted. You must have access to it and be "
                "authenticated to access it. Please log in.",
            )
        if not account.reads_gated:
            raise _Refused(
                403,
                None,
                "Please enable access to public gated repositories in your fine-grained token settings to "
                "view this repository.",
            )
        if account.name in repository.pending:
            raise _Refused(
                403, "GatedRepo", f"Your request to access model {name} is awaiting a review from the repo authors."
            )
        if account.name not in repository.allowed:
            raise _Refused(
                403,
                "GatedRepo",
                f"Access to model {name} is restricted and you are not in the authorized list. "
                f"Visit {self.hub.url}/{name} to ask for access.",
            )
        return repository

    def _writable(self, name: str) -> Repository:
        repository = self._repository(name)
        if self.account is None:
            raise _Refused(401, None, "Invalid username or password.")
        if not self.account.writes or self.account.name not in (repository.allowed | {name.split("/")[0]}):
            raise _Refused(403, None, f"You don't have the rights to write to model {name}.")
        return repository

    def _sha(self, repository: Repository, revision: str) -> str:
        sha = repository.sha(revision)
        if sha is None:
            raise _Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return sha

    # --- routes ---

    def _route(self) -> None:
        for method, pattern, handle in ROUTES:
            found = pattern.fullmatch(self.raw_path)
            if found and self.command in method:
                handle(self, *(unquote(part) for part in found.groups()))
                return
        self.error(404)

    def auth_check(self, name: str) -> None:
        if not self.hub.has_auth_check:
            self.error(404)
            return
        self._readable(name)
        self.json({})

    def auth_check_write(self, name: str) -> None:
        if not self.hub.has_auth_check:
            self.error(404)
            return
        self._writable(name)
        self.json({})

    def info(self, name: str, revision: str = "main") -> None:
        repository = self._repository(name)
        sha = self._sha(repository, revision)
        siblings = [{"rfilename": file} for file in sorted(repository.commits[sha])]
        facts = {"private": repository.private, "gated": repository.gated or False, "disabled": repository.disabled}
        self.json({"id": repository.name, "sha": sha, "tags": [], "downloads": 0, "siblings": siblings, **facts})

    def tree(self, name: str, revision: str) -> None:
        repository = self._repository(name)
        files = repository.commits[self._sha(repository, revision)]
        entries: list[dict[str, object]] = []
        for folder in sorted({part for file in files for part in _folders(file)}):
            entries.append({"type": "directory", "path": folder, "oid": git_sha1(folder.encode()), "size": 0})
        for file, content in sorted(files.items()):
            size = repository.claimed_sizes.get(file, len(content))
            entry: dict[str, object] = {"type": "file", "path": file, "size": size, "oid": git_sha1(content)}
            if is_lfs(file):
                entry["oid"] = git_sha1(f"pointer of {sha256(content)}".encode())
                entry["lfs"] = {"oid": sha256(content), "size": size, "pointerSize": 134}
            entries.append(entry)
        start = int(self.query.get("cursor", ["0"])[0])
        end = start + self.hub.page_size
        headers = {}
        if end < len(entries):
            headers["Link"] = f'<{self.hub.url}{self.raw_path}?recursive=True&cursor={end}>; rel="next"'
        self.json(entries[start:end], headers=headers)

    def resolve(self, name: str, revision: str, file: str) -> None:
        repository = self._readable(name)
        sha = self._sha(repository, revision)
        content = repository.commits[sha].get(file)
        headers = {"X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        if content is None:
            self.error(404, headers={"X-Error-Code": "EntryNotFound", **headers}, message="Entry not found")
            return
        headers["ETag"] = f'"{etag(file, content)}"'
        if is_lfs(file):
            headers |= {"X-Linked-Size": str(len(content)), "X-Linked-ETag": headers["ETag"]}
            if self.hub.xet_url:
                token = f"{self.hub.url}/api/models/{name}/xet-read-token/{sha}"
                headers |= {"X-Xet-Hash": sha256(content), "Link": f'<{token}>; rel="xet-auth"'}
            self.send(302, b"", {**headers, "Location": f"{self.hub.cdn_url}/cdn/{name}/{sha}/{quote(file)}"})
        else:
            self._file(content, headers)

    def xet_token(self, name: str, revision: str) -> None:
        self._readable(name)
        expires = str(int(time.time()) + 3600)
        told = {"X-Xet-Cas-Url": self.hub.xet_url, "X-Xet-Access-Token": "xet", "X-Xet-Token-Expiration": expires}
        self.json({}, headers=told)

    def cdn(self, name: str, sha: str, file: str) -> None:
        content = self.hub.repositories[name].commits[sha][file]
        self._file(content, {"ETag": f'"{etag(file, content)}"', "Accept-Ranges": "bytes"})

    def _file(self, content: bytes, headers: dict[str, str]) -> None:
        status = 200
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if wanted and self.ranges:
            start, total = int(wanted[1]), len(content)
            if start >= total:
                self.send(416, b"", {"Content-Range": f"bytes */{total}"})
                return
            content = content[start : int(wanted[2]) + 1 if wanted[2] else None]
            headers["Content-Range"] = f"bytes {start}-{start + len(content) - 1}/{total}"
            status = 206
        self._remember(status)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        sent = 0
        while sent < len(content):
            end = min(sent + self.hub.chunk, len(content))
            if self.cut_after is not None:
                end = min(end, self.cut_after)
            if self.stalls_after is not None and end > self.stalls_after:
                while not self.goes_on.wait(0.05):
                    if self.server.closing.is_set():
                        self._hang_up()
                        return
                self.stalls_after = None
            self.wfile.write(content[sent:end])
            sent = end
            if sent == self.cut_after:
                self._hang_up()
                return
            if self.hub.pause and self.server.closing.wait(self.hub.pause):
                self._hang_up()
                return

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        if self.cut_resets:
            time.sleep(0.1)  # let what was sent arrive before the reset throws it away
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        else:
            self.connection.shutdown(socket.SHUT_RDWR)

    # --- writing ---

    def whoami(self) -> None:
        if self.account is None:
            raise _Refused(401, None, "Invalid username or password.")
        self.json({"type": "user", "name": self.account.name, "orgs": [], "auth": {"accessToken": {"role": "write"}}})

    def create(self) -> None:
        asked = json.loads(self.body)
        if self.account is None:
            raise _Refused(401, None, "Invalid username or password.")
        owner = asked.get("organization") or self.account.name
        if not self.account.writes or owner != self.account.name:
            raise _Refused(403, None, f'You don\'t have the rights to create a model under the namespace "{owner}"')
        name = f"{owner}/{asked['name']}"
        if name in self.hub.repositories:
            self.error(409, message="You already created this model repo")
            return
        repository = Repository(
            name, private=asked.get("visibility") == "private" or bool(asked.get("private")), allowed={owner}
        )
        repository.commit({".gitattributes": b"*.safetensors filter=lfs\n"})
        self.hub.repositories[name] = repository
        self.json({"url": f"{self.hub.url}/{name}", "name": name, "id": name})

    def branch(self, name: str, branch: str) -> None:
        repository = self._writable(name)
        start = json.loads(self.body or b"{}").get("startingPoint") or "main"
        repository.branches[branch] = self._sha(repository, start)
        self.json({})

    def refs(self, name: str) -> None:
        repository = self._repository(name)
        branches = [
            {"name": branch, "ref": f"refs/heads/{branch}", "targetCommit": sha}
            for branch, sha in repository.branches.items()
        ]
        self.json({"branches": branches, "converts": [], "tags": []})

    def validate_yaml(self) -> None:
        bad = "\nlicense: [" in json.loads(self.body)["content"]
        errors = [{"message": "unexpected end of the flow collection"}] if bad else []
        self.json({"errors": errors, "warnings": []}, 400 if bad else 200)

    def preupload(self, name: str, revision: str) -> None:
        repository = self._writable(name)
        files = repository.commits[self._sha(repository, revision)]
        answer = []
        for file in json.loads(self.body)["files"]:
            path = file["path"]
            here = files.get(path)
            answer.append(
                {
                    "path": path, "shouldIgnore": False, "uploadMode": "lfs" if is_lfs(path) else "regular",
                    "oid": None if here is None or is_lfs(path) else git_sha1(here),
                }
            )  # fmt: skip
        self.json({"files": answer})

    def lfs_batch(self, name: str) -> None:
        self._writable(name)
        objects = []
        for one in json.loads(self.body)["objects"]:
            entry = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.hub.objects:
                entry["actions"] = {"upload": {"href": f"{self.hub.url}/upload/{one['oid']}"}}
            objects.append(entry)
        self.json({"transfer": "basic", "objects": objects})

    def upload(self, oid: str) -> None:
        assert sha256(self.body) == oid
        if self.hub.pause:
            self.server.closing.wait(self.hub.pause)
        self.hub.objects[oid] = self.body
        self.send(200)

    def commit(self, name: str, branch: str) -> None:
        repository = self._writable(name)
        lines = [json.loads(line) for line in self.body.splitlines()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        parent = header.get("parentCommit")
        if parent and parent != repository.branches.get(branch):
            self.error(412, message="A commit has happened since. Please refresh and try again.")
            return
        files = dict(repository.commits[self._sha(repository, branch)])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        repository.messages.append(header["summary"])
        sha = repository.commit(files, branch=branch)
        self.json({"commitUrl": f"{self.hub.url}/{name}/commit/{sha}", "commitOid": sha, "success": True})


def _folders(file: str) -> list[str]:
    parts = file.split("/")[:-1]
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


_NAME = r"([^/]+/[^/]+)"
ROUTES = [
    (methods, re.compile(pattern), handle)
    for methods, pattern, handle in (
        (("GET",), rf"/api/models/{_NAME}/auth-check", Handler.auth_check),
        (("GET",), rf"/api/models/{_NAME}/auth-check/write", Handler.auth_check_write),
        (("GET",), rf"/api/models/{_NAME}", Handler.info),
        (("GET",), rf"/api/models/{_NAME}/revision/([^/]+)", Handler.info),
        (("GET",), rf"/api/models/{_NAME}/tree/([^/]+)", Handler.tree),
        (("GET",), rf"/api/models/{_NAME}/refs", Handler.refs),
        (("GET",), rf"/api/models/{_NAME}/xet-read-token/([^/]+)", Handler.xet_token),
        (("GET",), r"/api/whoami-v2", Handler.whoami),
        (("GET", "HEAD"), rf"/{_NAME}/resolve/([^/]+)/(.+)", Handler.resolve),
        (("GET", "HEAD"), rf"/cdn/{_NAME}/([0-9a-f]+)/(.+)", Handler.cdn),
        (("POST",), r"/api/repos/create", Handler.create),
        (("POST",), r"/api/validate-yaml", Handler.validate_yaml),
        (("POST",), rf"/api/models/{_NAME}/branch/([^/]+)", Handler.branch),
        (("POST",), rf"/api/models/{_NAME}/preupload/([^/]+)", Handler.preupload),
        (("POST",), rf"/api/models/{_NAME}/commit/([^/]+)", Handler.commit),
        (("POST",), r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", Handler.lfs_batch),
        (("PUT",), r"/upload/([0-9a-f]+)", Handler.upload),
    )
]
