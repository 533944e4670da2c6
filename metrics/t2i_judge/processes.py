"""Work over what strangers wrote, in separate processes, which end when it takes too long or too much memory.

Nothing is forked, and the user's script does not run again: a process is Python with one module of this package, which
calls `serve`. It has none of this process's environment, so no key. Linux and macOS only.

A request is a line of JSON, which says in `bytes` how many bytes follow it; a reply is the same.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

_KEPT = ("PATH", "LANG", "LD_LIBRARY_PATH", "TMPDIR", "OPENBLAS_CORETYPE")  # of the environment
# `evaluate` loads this library from a folder and under a name of its own: there is no `python -m` for it. That folder
# may be what a release has staged, in which no bytecode may be left (-B).
_RUN = """
import runpy, sys
from importlib.util import module_from_spec, spec_from_file_location
module, folder = sys.argv.pop(), sys.argv.pop()
spec = spec_from_file_location("t2i_judge", folder + "/__init__.py", submodule_search_locations=[folder])
sys.modules["t2i_judge"] = module_from_spec(spec)
spec.loader.exec_module(sys.modules["t2i_judge"])
runpy.run_module("t2i_judge." + module, run_name="__main__")
"""
Reply = tuple[dict[str, Any], bytes]
Timed = Callable[[], AbstractContextManager[None]]


class Ended(Exception):
    """The process is gone. `slow`: because it took too long; else it crashed, most often for memory."""

    def __init__(self, slow: bool) -> None:
        super().__init__("it takes too long" if slow else "the process crashed")
        self.slow = slow


class Processes:
    """Up to `count` processes, each started when it is needed and restarted after it was ended.

    Safe to use from several threads, and after a fork; a call waits for a free process, then for its answer.

    Args:
        module: what they run; it calls `serve`.
        count: processes at a time.
        seconds: CPU time that an answer may take.
        memory: bytes of address space that a process may have.
        patience: times as many seconds that an answer may take by the clock, on a machine that has other things to do.
    """

    def __init__(self, module: str, count: int, seconds: float, memory: int, patience: float) -> None:
        self.module, self.count = module, count
        self._limits = [str(seconds), str(patience * seconds), str(memory)]
        self._begin()

    def prepare(self) -> None:
        """Start a process that will be needed soon, and do not wait for it."""
        with suppress(queue.Empty):
            process = self.idle.get_nowait()
            self.idle.put(process or _started(self.module, self._limits))

    def ask(self, request: dict[str, Any], data: bytes = b"") -> Reply:
        """The answer of a process to a request. Raises `Ended` when it ended over it; the next has a new one."""
        if self._owner != os.getpid():  # forked: those processes are the parent's, and so are their answers
            self._begin()
        idle = self.idle
        process = idle.get()
        try:
            if process is None or process.poll() is not None:
                _end(process)
                process = None  # the old one, where no new one starts
                process = _started(self.module, self._limits)
            return _exchange(process, request, data)
        except BaseException:  # interrupted between question and answer, the next one would get this answer
            _end(process)
            process = None
            raise
        finally:
            idle.put(process)

    def close(self) -> None:
        """End the idle processes. Those at work end after their answer."""
        with suppress(queue.Empty):
            while True:
                _end(self.idle.get_nowait())

    def _begin(self) -> None:
        self._owner = os.getpid()
        self.idle: queue.LifoQueue[subprocess.Popen[bytes] | None] = queue.LifoQueue()
        for _ in range(self.count):
            self.idle.put(None)


def serve(answer: Callable[[dict[str, Any], bytes, Timed], Reply]) -> None:
    """Answer on standard output what comes by standard input, until it ends: what a process of `Processes` does.

    Args:
        answer: to a request, its bytes, and the context within which the limit of time holds.
    """
    import resource

    seconds, by_the_clock, memory = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    with suppress(ValueError):  # a lower limit holds already, or (on macOS) none can
        resource.setrlimit(resource.RLIMIT_AS, (memory,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints does not become a reply
    for line in iter(sys.stdin.buffer.readline, b""):
        request = json.loads(line)
        data = sys.stdin.buffer.read(request["bytes"])
        head, body = answer(request, data, partial(_timed, seconds, by_the_clock))
        replies.write(json.dumps({**head, "bytes": len(body)}).encode() + b"\n" + body)
        replies.flush()


def _started(module: str, limits: Sequence[str]) -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment |= {"OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-B", "-P", "-c", _RUN, *limits, str(Path(__file__).parent), module.partition(".")[2]],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C at the terminal is the server's to answer
    )


def _exchange(process: subprocess.Popen[bytes], request: dict[str, Any], data: bytes) -> Reply:
    """Ask, and read the whole answer. Raises `Ended` when the process ended over it."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.write(json.dumps({**request, "bytes": len(data)}).encode() + b"\n" + data)
        process.stdin.flush()
        line = process.stdout.readline()
        if line.endswith(b"\n"):
            head = json.loads(line)
            body = process.stdout.read(head["bytes"])
            if len(body) == head["bytes"]:
                return head, body
    raise Ended(slow=process.wait() in (-signal.SIGPROF, -signal.SIGALRM))


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()


@contextmanager
def _timed(seconds: float, by_the_clock: float) -> Iterator[None]:
    """Both signals end a process even in the midst of C code; nothing here catches them."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, by_the_clock)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
