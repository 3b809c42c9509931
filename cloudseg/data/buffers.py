"""Reuses memory: the system provides fresh memory page by page, which takes as long as filling it."""

from __future__ import annotations

import ctypes
import mmap
import queue
from contextlib import suppress
from typing import Any

import numpy as np

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def reuse_freed_memory() -> None:
    """Make glibc keep freed arrays of some MB for reuse instead of returning them to the system."""
    with suppress(AttributeError, OSError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the maximum of older versions
        libc.mallopt(_M_TRIM_THRESHOLD, 256 << 20)


class Slots:
    """A pool of `count` slots of equal size in `memory`.

    `take` gives out a slot as an array. The slot is free again when neither Python nor TensorFlow refers to the array
    or a view of it.
    """

    def __init__(self, memory: mmap.mmap, count: int) -> None:
        self._bytes = len(memory) // count
        self._all = np.frombuffer(memory, np.uint8)
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(count):
            self._free.put(slot)

    def take(self) -> tuple[int, np.ndarray]:
        """Wait for a free slot; returns its number and its memory, uint8 (bytes,)."""
        slot = self._free.get()
        return slot, np.asarray(_SlotOwner(self[slot], slot, self._free))

    def copy_if_last(self, memory: np.ndarray) -> np.ndarray:
        """Return a slot's memory, or a copy if no other slot is free, so that a caller who keeps batches does not block
        the next ones."""
        return memory.copy() if self._free.empty() else memory

    def __getitem__(self, slot: int) -> np.ndarray:
        return self._all[slot * self._bytes : (slot + 1) * self._bytes]


class _SlotOwner:
    """Base object of all arrays over a slot: it frees the slot when the last of them is gone."""

    def __init__(self, memory: np.ndarray, slot: int, free: queue.SimpleQueue[int]) -> None:
        self._memory, self._slot, self._free = memory, slot, free

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self._memory.__array_interface__

    def __del__(self) -> None:
        self._free.put(self._slot)
