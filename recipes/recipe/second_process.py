"""A second process beside this one, where a step has two things to do and each keeps only one core busy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from threading import Thread
from typing import Any


def cores_to_share() -> bool:
    """Whether there is room for it: small models make no use of a second core, and a GPU has no memory to spare."""
    import torch

    return not ("WORLD_SIZE" in os.environ or torch.cuda.is_available() or torch.get_num_threads() < 2)


@contextmanager
def second_process() -> Iterator[ProcessPoolExecutor]:
    """A quiet process; it and this one have half of the threads each. It ends with an error in this one."""
    import torch

    threads = torch.get_num_threads()
    with ProcessPoolExecutor(1, get_context("spawn"), _quiet, (threads - threads // 2,)) as process:
        torch.set_num_threads(max(1, threads // 2))
        try:
            yield process
        except BaseException:
            for child in active_children():
                child.terminate()  # it goes on from its checkpoint next time
            raise
        finally:
            torch.set_num_threads(threads)


def _quiet(threads: int) -> None:
    """Print nothing, use so many threads, and end when the parent does, even by kill -9."""
    import torch

    torch.set_num_threads(threads)
    parent: Any = parent_process()
    Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    nothing = os.open(os.devnull, os.O_WRONLY)  # one bar at a time; what goes wrong is raised
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
