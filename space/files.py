"""Registers every file that a visitor may name: its owner, its size, and when it is deleted.

Each upload, and each picture that the Space makes of one, lies in a folder of its own with a name that nobody can
guess: two visitors' identical uploads are two files. A file is its visitor's alone; the first visit that names one
keeps it. Files that the page itself shows (examples) are everybody's. What a visitor names is looked up as it stands,
against whole paths that were resolved when they were registered; no path of theirs reaches the file system.
"""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from counts import Counts
from t2i_judge.errors import UserError
from visitors import Visitor

EACH, TOGETHER = 300_000_000, 1_000_000_000  # bytes that one browser, and all visitors, may have here at a time
SMALLEST = 65_536  # bytes that a file counts for at least: a million empty ones are too many, too
KEPT, UNNAMED = 3600.0, 300.0  # seconds after which a file goes that was not named again, and one that never was
GRACE, LEFT = 20.0, 300.0  # seconds that a file stays once it is done with (it may still be shown), or its visit is
_NOT_YOURS = ("This is not a file that you uploaded here", "", "Upload it, and use the path that the upload returns")


@dataclass
class _File:
    """A registered file.

    Attributes:
        owner: whose it is; the session is None until a visit names it.
        size: bytes that it counts for.
        slot: the component that shows it, "" for an upload.
        expires: when nobody needs it any longer, by the monotonic clock.
        done: is it done with? Then it makes room for others before its time.
    """

    owner: Visitor
    size: int
    slot: str = ""
    expires: float = field(default_factory=lambda: time.monotonic() + UNNAMED)
    done: bool = False

    def is_of(self, visitor: Visitor) -> bool:
        """Is it this visitor's? A file that no visit has named yet is anybody's who can name it."""
        same_browser = self.owner.browser in ("", visitor.browser)
        return same_browser and self.owner.session in (None, visitor.session)

    def name(self, visitor: Visitor) -> None:
        """This visitor needs it, now and for a while."""
        self.expires, self.done = time.monotonic() + KEPT, False
        if self.owner.session is None:
            self.owner = replace(self.owner, session=visitor.session)

    def finish(self, seconds: float) -> None:
        """Nobody needs it any longer than so many seconds, unless somebody names it again."""
        if not self.done:
            self.expires, self.done = time.monotonic() + seconds, True


class Files:
    """The visitors' files in one folder. Safe to use from several threads.

    Args:
        folder: inside Gradio's upload folder, which Gradio itself checks, too.
        each: bytes that one browser may have there.
        together: bytes that all visitors may have there.
    """

    def __init__(self, folder: Path, each: int = EACH, together: int = TOGETHER) -> None:
        self.folder = folder.resolve()
        fact, fix = "This Space has no room for more pictures at the moment", "Try again in a few minutes"
        self.bytes = Counts(fact, fix, each=each, together=together)  # of files, and of what is on its way
        self._files: dict[str, _File] = {}
        self._rooms: set[Room] = set()  # for what is on its way
        self._shared: set[str] = set()
        self._lock = threading.RLock()
        self._reaper: threading.Timer | None = None
        self._reaps = 0.0  # when, by the monotonic clock

    @contextmanager
    def room(self, visitor: Visitor, expected: int = 0) -> Iterator[Room]:
        """Room for files of about this size. What is not added by the end is deleted; after an error, everything is.

        Raises:
            UserError: the visitor, or all visitors together, would have more than their share.
        """
        room = Room(self, visitor, self.folder / secrets.token_hex(16))
        with self._lock:
            self._check(visitor, expected)
            self._rooms.add(room)
        room.folder.mkdir(parents=True, mode=0o700)
        try:
            yield room
        except BaseException:
            with self._lock:
                for path in room.added:
                    self._drop(str(path))
            raise
        finally:
            with self._lock:
                self._rooms.discard(room)
                self.bytes.add(visitor, -room.coming)
                self._keep_registered(room.folder)

    def _keep_registered(self, folder: Path) -> None:
        for path in [*sorted(folder.rglob("*"), reverse=True), folder]:  # a folder's files before the folder
            if str(path) not in self._files:
                with suppress(OSError):  # a folder that is not empty holds a file that is kept
                    path.rmdir() if path.is_dir() else path.unlink()

    def share(self, paths: Iterable[Path]) -> None:
        """Let everybody name the files that the page shows at first."""
        self._shared.update(str(path.resolve(strict=True)) for path in paths)

    def named(self, visitor: Visitor, path: object) -> Path:
        """The file that a visitor names.

        Raises:
            UserError: it is not theirs; the same words whether it is another's, elsewhere, or nowhere.
        """
        with self._lock:
            if isinstance(path, str) and path in self._shared:
                return Path(path)
            file = self._files.get(path) if isinstance(path, str) else None
            if file is None or not file.is_of(visitor):
                raise UserError(*_NOT_YOURS)
            file.name(visitor)
            return Path(str(path))

    def may_see(self, visitor: Visitor, path: str) -> bool:
        """Whether the file may be sent to this browser. Pictures are fetched without a session."""
        with self._lock:
            file = self._files.get(path)
            return path in self._shared or (file is not None and file.owner.browser in ("", visitor.browser))

    def holds(self, path: str, slot: str) -> bool:
        """Whether the file was made for this component."""
        file = self._files.get(path)
        return file is not None and file.slot == slot

    def forget(self, path: str | None) -> None:
        """An upload, or a picture made of one, is done with. A file that everybody may name is never deleted."""
        with self._lock:
            file = self._files.get(path) if path is not None else None
            if file is not None:
                file.finish(GRACE)
                self._reap_later()

    def only(self, visitor: Visitor, slot: str, shown: Iterable[str]) -> None:
        """Note that a component of this visit shows these files now, and no longer its earlier ones."""
        kept = set(shown)
        with self._lock:
            for path, file in self._files.items():
                if visitor.session is not None and (file.owner, file.slot) == (visitor, slot) and path not in kept:
                    file.finish(GRACE)
            self._reap_later()

    def leave(self, visitor: Visitor) -> None:
        """Note that a visit is over or disconnected. Its files are deleted unless it names them again."""
        with self._lock:
            for file in self._files.values():
                if visitor.session is not None and file.owner.session == visitor.session:
                    file.finish(LEFT)
            self._reap_later()

    def _reap_later(self) -> None:
        """One thread deletes everything that expires, at its time."""
        soonest = min((file.expires for file in self._files.values()), default=None)
        if soonest is None or (self._reaper is not None and self._reaps <= soonest):
            return
        if self._reaper is not None:
            self._reaper.cancel()
        self._reaps = soonest
        self._reaper = threading.Timer(max(soonest - time.monotonic(), 0.0), self._reap)
        self._reaper.daemon = True
        self._reaper.start()

    def _reap(self) -> None:
        with self._lock:
            now = time.monotonic()
            for path in [path for path, file in self._files.items() if file.expires <= now]:
                self._remove(path)
            self._reaper = None
            self._reap_later()

    def _drop(self, path: str) -> None:
        """It is registered, and counts, no longer."""
        if file := self._files.pop(path, None):
            self.bytes.add(file.owner, -file.size)

    def _remove(self, path: str) -> None:
        self._drop(path)
        file = Path(path)
        file.unlink(missing_ok=True)
        for folder in file.parents[: len(file.relative_to(self.folder).parts) - 1]:
            with suppress(OSError):  # it holds another file yet
                folder.rmdir()

    def _check(self, visitor: Visitor, size: int) -> None:
        """Refuse what is too much, when not even what is done with makes room for it."""
        full = self.bytes.full(visitor, size)
        if full == "browser":
            self._make_room(visitor.browser)
            full = self.bytes.full(visitor, size)
        if full == "others":
            self._make_room()
            full = self.bytes.full(visitor, size)
        if full == "browser":
            fact = f"Your pictures here would take more than {self.bytes.each // 1_000_000} MB"
            raise UserError(fact, "", "Remove some of them first")
        if full:
            raise UserError(self.bytes.fact, "", self.bytes.fix)

    def _make_room(self, browser: str = "") -> None:
        """Remove what a browser, or else anybody, is done with."""
        done = [path for path, file in self._files.items() if file.done and browser in ("", file.owner.browser)]
        for path in done:
            self._remove(path)

    def close(self) -> None:
        """Delete everything."""
        with self._lock:
            for path in list(self._files):
                self._drop(path)
            shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(eq=False)
class Room:
    """A folder for files on their way, whose bytes count as they come.

    Attributes:
        coming: bytes that came and are not part of a registered file yet.
        added: the files that were registered.
    """

    files: Files
    visitor: Visitor
    folder: Path
    coming: int = 0
    added: list[Path] = field(default_factory=list)

    def count(self, size: int) -> None:
        """So many bytes more have come. Raises `UserError` when they are too many."""
        with self.files._lock:
            self.files._check(self.visitor, size)
            self.files.bytes.add(self.visitor, size)
            self.coming += size

    def add(self, path: Path, slot: str = "") -> Path:
        """Register a file of the folder; `slot` is the component that shows it.

        Raises:
            UserError: small as it may be, it is one too many.
        """
        path = path.resolve(strict=True)
        size = path.stat().st_size
        with self.files._lock:
            known = min(size, self.coming)
            counted = max(size, SMALLEST)
            self.files._check(self.visitor, counted - known)
            self.files.bytes.add(self.visitor, counted - known)
            self.coming -= known
            self.files._files[str(path)] = _File(self.visitor, counted, slot)
            self.files._reap_later()
        self.added.append(path)
        return path
