"""One namespace on the Hub. Temporary failures are tried again, and a refusal becomes one line.

Every call goes through `Hub.call`. Failures that may pass (429, 5xx, time-outs, dropped or garbled answers) are tried
again. A refusal becomes a `UserError` that names the repository and the fix. All calls are safe to repeat.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from recipes.hub.repositories import Repository
from t2i_judge.errors import UserError
from t2i_judge.running import disk_is_full
from t2i_judge.terminal import step

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")
TRIES = 4
SILENCE_SECONDS = 60.0
LONGEST_WAIT = 300.0  # seconds: the Hub counts requests in windows of five minutes
NOTICED_WAIT = 10.0  # seconds
AGAIN = "Run the command again: it continues, and nothing is sent twice"
_STORAGE = re.compile(
    r"storage|quota|disk space", re.IGNORECASE
)  # in the Hub's words of a 403 that is no matter of rights
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_NEVER_THERE = {405, 501}
_XET_STATUS = re.compile(r"HTTP status (?:client|server) error \((\d{3})\b")
_REFUSALS = {
    401: ("The token is missing, wrong or expired", "Set HF_TOKEN to a valid token (hf auth login)"),
    402: ("The Hub asks for payment", "Use a PRO, Team or Enterprise account, or paid hardware"),
    403: ("This token may not write there", "Use a token with write access to that namespace"),
    404: (
        "The Hub does not find it",
        "Check HF_ENDPOINT and the namespace; somebody may have deleted it. If they are correct: " + AGAIN,
    ),
    409: (
        "Something else has this name, or the repository is busy",
        "Look at it on the Hub; rename or remove it. " + AGAIN,
    ),
    412: ("Somebody else committed in the meantime", "Look at that commit. " + AGAIN),
    413: ("A file is larger than the Hub accepts", "Make it smaller"),
}


def status_of(error: BaseException) -> int | None:
    """HTTP status of an error of huggingface_hub or hf_xet (which has it in its text only), None for other errors."""
    if (response := getattr(error, "response", None)) is not None:
        return response.status_code
    match = _XET_STATUS.search(str(error))
    return int(match[1]) if match else None


class NotOffered(UserError):
    """This Hub, which is not every Hub, does not have what was asked for: trying again cannot help."""


def is_offered(error: BaseException) -> bool:
    """Whether the Hub knows such a call at all: a 404 of one that does names in X-Error-Code what it does not find."""
    response = getattr(error, "response", None)
    nameless = response is not None and response.status_code == 404 and "X-Error-Code" not in response.headers
    return not nameless and status_of(error) not in _NEVER_THERE


def is_transient(error: BaseException) -> bool:
    """Whether the same call may work a moment later."""
    import httpx2

    status = status_of(error)
    if status is not None:
        return status in _TRANSIENT
    garbled = isinstance(error, json.JSONDecodeError)  # an answer that was cut on its way
    return garbled or isinstance(error, httpx2.TransportError | ConnectionError | TimeoutError)


def explain(error: BaseException, what: str, doing: str) -> UserError:
    """The one line for an error: what could not be done with which repository, why, and what to do."""
    message = " ".join(str(getattr(error, "server_message", None) or error).split())[:300]
    status = status_of(error)
    if not is_offered(error):
        return NotOffered(
            f"Cannot {doing} {what} ({status})",
            "This Hub does not support that",
            "Check HF_ENDPOINT, or use another Hub",
        )
    if disk_is_full(error):
        return UserError(f"Cannot {doing} {what}", "The disk is full", "Free some space. " + AGAIN)
    if status in (402, 403, 413) and _STORAGE.search(message):
        full = "Free some space there, make repositories public, or upgrade the plan (settings, Billing). " + AGAIN
        return UserError(f"Cannot {doing} {what} ({status})", f"The storage there is full: {message}", full)
    if status in _REFUSALS:
        reason, fix = _REFUSALS[status]
        return UserError(f"Cannot {doing} {what} ({status})", f"{reason}: {message}" if message else reason, fix)
    if isinstance(error, json.JSONDecodeError):
        return UserError(f"Cannot {doing} {what}", f"The Hub's answer is not JSON: {message}", AGAIN)
    if status == 400 or isinstance(error, ValueError):
        return UserError(f"The Hub rejects {what}", message, "Correct that file (README.md: its metadata). " + AGAIN)
    return UserError(f"Cannot {doing} {what}", message or type(error).__name__, AGAIN)


def patient_client() -> httpx2.Client:
    """huggingface_hub's own HTTP client, but one that does not wait for ever for a server that has gone silent."""
    import httpx2
    from huggingface_hub.utils._http import default_client_factory

    client = default_client_factory()
    client.timeout = httpx2.Timeout(SILENCE_SECONDS, connect=10)
    return client


def failures() -> tuple[type[BaseException], ...]:
    """What calls of huggingface_hub raise when the Hub, the way there or the disk is at fault.

    A `KeyError` is an answer that lacks what it must hold, a `ValueError` may be one that is no JSON.
    """
    import httpx2

    return (OSError, ValueError, KeyError, RuntimeError, httpx2.HTTPError)


class Hub:
    """A namespace on the Hub.

    Args:
        namespace: user or organisation.
        token: write token; None reads what is public.
        sleep: how to wait between tries, in seconds.
    """

    def __init__(self, namespace: str, token: str | None, sleep: Callable[[float], None] = time.sleep) -> None:
        from huggingface_hub import HfApi, set_client_factory

        set_client_factory(patient_client)
        self.namespace, self.api, self.sleep = namespace, HfApi(token=token or False), sleep

    def call(self, what: str, doing: str, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Call a function of huggingface_hub, several times if necessary.

        Raises:
            UserError: it was refused, or failed `TRIES` times; the original error is its cause.
        """
        for attempt in range(1, TRIES + 1):
            try:
                return function(*arguments, **options)
            except failures() as error:
                if attempt == TRIES or not is_transient(error):
                    raise explain(error, what, doing) from error
                self.wait(attempt, error)
        raise AssertionError("not reached")

    def wait(self, attempt: int, error: BaseException | None = None) -> None:
        """Wait before another try: as long as the server asks for, else 1, 2, 4 seconds."""
        from huggingface_hub.utils import parse_ratelimit_headers

        headers = getattr(getattr(error, "response", None), "headers", {})
        asked, limit = headers.get("Retry-After", ""), parse_ratelimit_headers(headers)
        seconds = float(asked) if asked.isascii() and asked.isdecimal() else 2.0 ** (attempt - 1)
        if limit is not None and limit.remaining == 0:
            seconds = limit.reset_in_seconds + 1.0
        if seconds > NOTICED_WAIT:
            step(f"  The Hub asks to wait {seconds:.0f} s.")
        self.sleep(min(LONGEST_WAIT, seconds))

    def account(self) -> dict[str, Any]:
        """Who the token belongs to. Raises `UserError` when it may not write into the namespace."""
        me = self.call(self.namespace, "log in for", self.api.whoami)
        if self.namespace not in {me["name"], *(organisation["name"] for organisation in me.get("orgs", []))}:
            raise UserError(
                f"{me['name']} cannot push to {self.namespace}",
                "That is neither this account nor one of its organisations",
                "Set NAMESPACE to your own, or use a token of that organisation",
            )
        roles = {organisation["name"]: organisation.get("roleInOrg") for organisation in me.get("orgs", [])}
        if roles.get(self.namespace) == "read":
            raise UserError(
                f"{me['name']} may only read in {self.namespace}",
                "A push needs write access",
                "Ask an admin of the organisation for it",
            )
        if me.get("auth", {}).get("accessToken", {}).get("role") == "read":
            raise UserError(
                "The token in HF_TOKEN may only read", "A push needs write access", "Create a token with write access"
            )
        return me

    def info(self, repository: Repository, revision: str | None = None) -> Any | None:
        """The repository's info (`sha`, `private`, ...) at a revision, None where there is none (to be seen)."""
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        name = repository.id(self.namespace)

        def ask() -> Any | None:
            try:
                return self.api.repo_info(name, repo_type=repository.kind, revision=revision)
            except (RepositoryNotFoundError, RevisionNotFoundError) as error:
                if status_of(error) == 401 and self.api.token:
                    raise
                return None

        return self.call(name, "look at", ask)

    def files(self, repository: Repository, revision: str) -> dict[str, str]:
        """Path -> hash of every file at a revision: SHA-256 for large files, the git blob's SHA-1 for the others."""
        from huggingface_hub.hf_api import RepoFile

        name = repository.id(self.namespace)

        def ask() -> dict[str, str]:
            tree = self.api.list_repo_tree(name, repo_type=repository.kind, revision=revision, recursive=True)
            entries = [entry for entry in tree if isinstance(entry, RepoFile)]
            return {entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id for entry in entries}

        return self.call(name, "list", ask)

    def read(self, repository: Repository, path: str, revision: str) -> bytes | None:
        """A file's bytes at a revision, None where it is not there."""
        from huggingface_hub.errors import EntryNotFoundError

        name = repository.id(self.namespace)

        def ask() -> bytes | None:
            try:
                local = self.api.hf_hub_download(name, path, repo_type=repository.kind, revision=revision)
            except EntryNotFoundError:
                return None
            return Path(local).read_bytes()

        return self.call(f"{path} of {name}", "read", ask)

    def tags(self, repository: Repository) -> dict[str, str]:
        """Tag -> commit. Raises `NotOffered` where the Hub does not list them."""
        name = repository.id(self.namespace)
        refs = self.call(name, "list the tags of", self.api.list_repo_refs, name, repo_type=repository.kind)
        return {tag.name: tag.target_commit for tag in refs.tags}

    def reads_by(self, repository: Repository, tag: str, path: str) -> bool:
        """Whether a file of a repository can be read by a tag: there are Hubs that keep tags and do not follow them."""
        try:
            return self.info(repository, tag) is not None and self.read(repository, path, tag) is not None
        except UserError:
            return False


def git_sha1(path: Path) -> str:
    """The id that git gives a file's content."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
