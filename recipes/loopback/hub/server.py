"""The loopback Hub's server: routing, log-in, faults. The routes themselves are in routes_*.py."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from recipes.loopback.hub.jobs import Jobs
from recipes.loopback.hub.repo import PREFIX, SINGULAR, TYPES, Err, Repo
from recipes.loopback.hub.xet import Xet

LOCK = threading.RLock()
KEY = secrets.token_bytes(16)
ROUTES: list[tuple[set[str], re.Pattern[str], Callable[..., None], dict[str, Any]]] = []
ROUTE_MODULES = (
    "routes_account",
    "routes_repository",
    "routes_upload",
    "routes_download",
    "routes_social",
    "routes_jobs",
)
REPO = r"/api/(?P<plural>models|datasets|spaces)/(?P<ns>[^/]+)/(?P<name>[^/]+)"  # {T} in a route's pattern
TIMEOUT_SECONDS = 1.5
POLL_SECONDS = 0.02  # to stop takes as long: a test stops two servers
# What a Hub may be told to lack, as the routes that it then does not know; without `tag_reads` it keeps and lists tags,
# and finds no revision by one.
FEATURES = {
    "collections": re.compile(r"/api/collections\b"),
    "pull_requests": re.compile(r"/api/[^/]+/[^/]+/[^/]+/discussions\b"),
    "tags": re.compile(r"/api/[^/]+/[^/]+/[^/]+/(refs$|tag/)"),
    "tag_reads": re.compile("(?!)"),
}


@dataclass
class Fault:
    """Something that goes wrong `times` times with requests that match.

    Attributes:
        path: regular expression searched in "METHOD /path".
        kind: an HTTP status; "timeout" (no answer for a while); "drop" (the connection closes at once); "drop_after"
            (the request is carried out, its answer is lost); "garbled" (carried out, half of its answer arrives).
        times: how often; -1 for ever.
        headers: of the answer, such as Retry-After.
    """

    path: str
    kind: int | str
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Hub:
    """State of a loopback Hub.

    Attributes:
        root: folder of the repositories.
        base, cdn: addresses of the API and of the storage host.
        users: token -> name; orgs: organisation -> members.
        readers: tokens that may only read.
        xet: the Xet stores, None when Xet is off.
        lacks: feature (one of `FEATURES`) that this Hub does not have -> what it answers instead, 404 or 501.
        free_gradio: False answers 402 to a Gradio Space on free hardware.
        faults: what goes wrong next.
        calls: "METHOD /path" of every request so far.
        jobs: HF Jobs.
    """

    root: Path
    base: str
    cdn: str
    users: dict[str, str]
    orgs: dict[str, list[str]]
    xet: Xet | None = None
    lacks: dict[str, int] = field(default_factory=dict)
    free_gradio: bool = True
    readers: set[str] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    outputs: dict[Any, bytes] = field(default_factory=dict)
    jobs: Jobs = field(init=False)

    def __post_init__(self) -> None:
        self.jobs = Jobs(self, self.base)

    @staticmethod
    def sign(path: str) -> str:
        """Signature of a storage address."""
        return hmac.new(KEY, path.encode(), hashlib.sha256).hexdigest()[:32]

    def repos(self, kind: str) -> Any:
        """Every repository of a kind."""
        for path in sorted((self.root / TYPES[kind]).glob("*/*/.git/loopback.json")):
            yield Repo(self, kind, f"{path.parents[2].name}/{path.parents[1].name}")

    def fault(self, call: str) -> Fault | None:
        """The fault that this request meets, counted down."""
        for fault in self.faults:
            if fault.times and re.search(fault.path, call):
                fault.times -= 1
                return fault
        return None


def route(methods: str, pattern: str, **options: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a handler: `write` asks for write access to the repository, `cdn` serves it on the storage host too."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        ROUTES.append((set(methods.split()), re.compile(f"^{pattern.replace('{T}', REPO)}$"), function, options))
        return function

    return register


class Dropped(Exception):
    """The connection is to close without an answer."""


class Handler(BaseHTTPRequestHandler):
    """One request. `user` is who the token belongs to, `q` the query, `data` the body."""

    protocol_version = "HTTP/1.1"
    server_version = "loopback-hub"
    disable_nagle_algorithm = True  # an answer is written in two pieces, and the second waits 40 ms otherwise
    hub: Hub
    is_cdn = False
    sent: int | None = None
    lost = garbled = False

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""

    def body(self) -> bytes:
        """The request's body, whole."""
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        out = b""
        while length := int(self.rfile.readline().split(b";")[0], 16):
            out += self.rfile.read(length)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return out

    def send(
        self, status: int, body: Any = b"", ctype: str = "application/json; charset=utf-8", headers: Any = None
    ) -> None:
        """Answer with bytes, or with anything else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        if self.lost:
            raise Dropped
        if self.garbled:
            data = data[: len(data) // 2]
        self.send_response(status)
        self.send_header("X-Request-Id", "Root=1-" + secrets.token_hex(8))
        for name, value in (headers or {}).items():
            self.send_header(name, str(value))
        if status not in (204, 304):
            self.send_header("Content-Type", ctype)
            if not headers or "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        self.sent = status

    def handle_any(self) -> None:
        """Answer a request of any method, or meet the fault that was ordered for it."""
        self.sent, self.lost, self.garbled, url = None, False, False, urlsplit(self.path)
        self.q = {key: values[-1] for key, values in parse_qs(url.query, keep_blank_values=True).items()}
        self.raw_path = url.path
        try:
            self.data = self.body()
            with LOCK:
                self.hub.calls.append(f"{self.command} {url.path}")
                fault = self.hub.fault(f"{self.command} {url.path}")
            if fault:
                self.meet(fault)
            self.log_in()
            self.dispatch()
        except Err as error:
            self.refuse(error)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        except Dropped:
            self.close_connection = True
            self.connection.close()
        except Exception as error:  # a bug of this server: say so
            if self.sent is None:
                self.send(500, {"error": f"{type(error).__name__}: {error}"})
            raise

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = handle_any

    def meet(self, fault: Fault) -> None:
        """Let a fault happen."""
        if fault.kind == "timeout":
            time.sleep(TIMEOUT_SECONDS)
            raise Dropped
        if fault.kind == "drop":
            raise Dropped
        if fault.kind == "drop_after":
            self.lost = True
            return
        if fault.kind == "garbled":
            self.garbled = True
            return
        code = "RepoNotFound" if fault.kind == 404 else None
        raise Err(int(fault.kind), f"ordered fault {fault.kind}", code, headers=fault.headers)

    def refuse(self, error: Err) -> None:
        """Answer with an error in the Hub's shape."""
        headers = {"X-Error-Message": quote(error.message, safe=" ,.:;'\"()[]{}/=+-_"), **error.headers}
        if error.code:
            headers["X-Error-Code"] = error.code
        try:
            self.send(error.status, error.body if error.body is not None else {"error": error.message}, headers=headers)
        except Dropped:
            self.close_connection = True
            self.connection.close()

    def log_in(self) -> None:
        """Whose token it is. Raises `Err` for one that is nobody's."""
        self.user = self.token = None
        self.auth = self.headers.get("Authorization", "")
        if self.auth.startswith("Bearer "):
            self.token = self.auth[7:]
        elif self.auth.startswith("Basic "):
            self.token = base64.b64decode(self.auth[6:]).decode().split(":", 1)[-1]
        if self.token is not None:
            self.user = self.hub.users.get(self.token)
            if self.user is None:
                raise Err(401, "Invalid credentials in Authorization header")

    def dispatch(self) -> None:
        """Find the route's handler and call it."""
        for feature, status in self.hub.lacks.items():
            if FEATURES[feature].match(self.raw_path):
                raise Err(status, f"this Hub has no {feature.replace('_', ' ')}")
        for methods, pattern, function, options in ROUTES:
            match = pattern.match(self.raw_path)
            if not match or not (self.command in methods or (self.command == "HEAD" and "GET" in methods)):
                continue
            if self.is_cdn and not options.get("cdn"):
                continue
            if self.is_cdn and self.auth:
                raise Err(400, "Only one auth mechanism allowed")
            values = {key: unquote(value) if value is not None else None for key, value in match.groupdict().items()}
            with LOCK:
                function(self, **self.with_repo(values, options.get("write", False)))
            return
        raise Err(404, "Sorry, we can't find the page you are looking for.")

    def with_repo(self, values: dict[str, Any], write: bool) -> dict[str, Any]:
        """A route's values with the repository that they name in place of its parts."""
        if "plural" in values:
            kind = SINGULAR[values.pop("plural")]
        elif "prefix" in values:
            kind = SINGULAR[(values.pop("prefix") or "models/")[:-1]]
        else:
            return values
        return {"repo": self.repo(kind, f"{values.pop('ns')}/{values.pop('name')}", write), **values}

    def json(self) -> Any:
        """The body as JSON. Raises `Err`."""
        try:
            return json.loads(self.data or b"{}")
        except ValueError:
            raise Err(400, "Invalid JSON") from None

    def may_write(self, namespace: str) -> bool:
        """Whether the user may write there."""
        owner = self.user == namespace or self.user in self.hub.orgs.get(namespace, [])
        return self.user is not None and owner and self.token not in self.hub.readers

    def repo(self, kind: str, rid: str, write: bool = False) -> Repo:
        """A repository that the user may see, or write. Raises `Err`."""
        repository, namespace = Repo(self.hub, kind, rid), rid.split("/")[0]
        hidden = not repository.exists or (repository.load()["private"] and not self.may_write(namespace))
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", rid) or hidden:
            # the Hub answers 401 to those who are not logged in, so as not to tell which repositories exist
            raise Err(404 if self.user else 401, "Repository not found", "RepoNotFound")
        if write:
            self.need_write(namespace)
        return repository

    def need_write(self, namespace: str) -> None:
        """Raise `Err` for a user who may not write there."""
        if self.user is None:
            raise Err(401, "Invalid username or password.")
        if not self.may_write(namespace):
            raise Err(403, "Forbidden: you don't have write access to this repository")

    def url(self, repo: Repo) -> str:
        """The repository's page."""
        return f"{self.hub.base}/{PREFIX[repo.kind]}{repo.id}"

    def paged(self, rows: list[Any], page: int, headers: Any = None) -> None:
        """Answer with one page of rows and the link to the next, besides other headers."""
        start, more = int(self.q.get("cursor", 0)), dict(headers or {})
        if start + page < len(rows):
            query = "".join(f"{key}={quote(value)}&" for key, value in self.q.items() if key != "cursor")
            more["Link"] = f'<{self.hub.base}{self.raw_path}?{query}cursor={start + page}>; rel="next"'
        self.send(200, rows[start : start + page], headers=more)


@dataclass(frozen=True)
class Running:
    """A started Hub."""

    hub: Hub
    stop: Callable[[], None]

    @property
    def endpoint(self) -> str:
        """Its address, for HF_ENDPOINT."""
        return self.hub.base


class _Listener(ThreadingHTTPServer):
    """Its threads end with the process; a client that went away, or was killed, is no news."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print the traceback of what else went wrong."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def start(
    root: Path,
    port: int = 0,
    cdn_port: int = 0,
    users: dict[str, str] | None = None,
    orgs: dict[str, list[str]] | None = None,
    xet: bool = False,
    lacks: dict[str, int] | None = None,
) -> Running:
    """Start both listeners in background threads; port 0 takes any free one."""
    for module in ROUTE_MODULES:
        import_module(f"recipes.loopback.hub.{module}")
    root = Path(root).resolve()
    root.mkdir(parents=True, exist_ok=True)
    servers = [_Listener(("127.0.0.1", number), Handler) for number in (port, cdn_port)]
    base, cdn = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    hub = Hub(root, base, cdn, users or {"hf_me": "me"}, orgs or {}, Xet(root / ".xet") if xet else None, lacks or {})
    for server, is_cdn in zip(servers, (False, True)):
        server.RequestHandlerClass = type("BoundHandler", (Handler,), {"hub": hub, "is_cdn": is_cdn})
        threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), daemon=True).start()

    def stop() -> None:
        hub.jobs.stop()
        for server in servers:
            server.shutdown()
            server.server_close()

    return Running(hub, stop)
