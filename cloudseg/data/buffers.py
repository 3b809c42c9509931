"""Memory that is used over and over: fresh memory comes from the system page by page, which takes as long as filling
it."""

from __future__ import annotations

import ctypes
import mmap
import queue
from contextlib import suppress
from typing import Any

import numpy as np

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def reuse_freed_memory() -> None:
    """Let this process use freed arrays of some MB again, which glibc would give back to the system each time."""
    with suppress(AttributeError, OSError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the most that older ones take
        libc.mallopt(_M_TRIM_THRESHOLD, 256 << 20)


class Slots:
    """Pieces of memory of equal size. One is lent as an array, and comes back when nothing refers to the array or a
    view of it any more, be it in Python or in TensorFlow."""

    def __init__(self, memory: mmap.mmap, count: int) -> None:
        self._bytes = len(memory) // count
        self._all = np.frombuffer(memory, np.uint8)
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(count):
            self._free.put(slot)

    def take(self) -> tuple[int, np.ndarray]:
        """The number of a slot and its memory, uint8 (bytes,); waits until one is free."""
        slot = self._free.get()
        return slot, np.asarray(_Lent(self[slot], slot, self._free))

    def spared(self, memory: np.ndarray) -> np.ndarray:
        """A slot's memory once it is filled: itself, or a copy if it was the last that was free, so that one who keeps
        batches does not hold up those to come."""
        return memory.copy() if self._free.empty() else memory

    def __getitem__(self, slot: int) -> np.ndarray:
        return self._all[slot * self._bytes : (slot + 1) * self._bytes]


class _Lent:
    """What the arrays over a slot refer to in the end: numpy follows views down to the first that is no array."""

    def __init__(self, memory: np.ndarray, slot: int, free: queue.SimpleQueue[int]) -> None:
        self._memory, self._slot, self._free = memory, slot, free

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self._memory.__array_interface__

    def __del__(self) -> None:
        self._free.put(self._slot)
