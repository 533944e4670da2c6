"""What is kept for who asks the same again: as much as fits into some memory, however large or small each thing is.

A server runs for weeks, and what strangers ask may be a few letters or megabytes.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Hashable, Iterator, MutableMapping
from dataclasses import is_dataclass
from typing import Any, Generic, TypeVar

BYTES = 100_000_000
_LEAST = 500  # bytes that an entry counts for at least: its places in tables
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(MutableMapping[K, V], Generic[K, V]):
    """A mapping that forgets what was not looked up or stored for longest. Not safe to use from several threads.

    Args:
        most: bytes that keys and values may take together. Something larger is not kept at all.
        number: entries, at most; None for any number.
    """

    def __init__(self, most: int = BYTES, number: int | None = None) -> None:
        self.most, self.number, self.bytes = most, number, 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __getitem__(self, key: K) -> V:
        """What was stored. Raises `KeyError` where it never was, or was forgotten."""
        value, _ = self._entries[key]
        self._entries.move_to_end(key)
        return value

    def __setitem__(self, key: K, value: V) -> None:
        """Store it, and forget what there is no room for."""
        self.pop(key, None)
        size = max(_LEAST, weight(key) + weight(value))
        self._entries[key] = value, size
        self.bytes += size
        while self.bytes > self.most or (self.number is not None and len(self) > self.number):
            del self[next(iter(self._entries))]

    def __delitem__(self, key: K) -> None:
        """Forget it."""
        self.bytes -= self._entries.pop(key)[1]

    def __iter__(self) -> Iterator[K]:
        """The keys, the first to be forgotten first."""
        return iter(self._entries)

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self._entries)


def weight(value: Any) -> int:
    """Bytes of memory that texts, numbers, records and what holds them take, roughly."""
    total, left = 0, [value]
    while left:
        part = left.pop()
        total += sys.getsizeof(part)
        if isinstance(part, dict):
            left += [*part, *part.values()]
        elif isinstance(part, list | tuple | set):
            left += part
        elif is_dataclass(part) and not isinstance(part, type):
            left += vars(part).values()
    return total
