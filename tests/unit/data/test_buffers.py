"""Memory that is lent and comes back."""

from __future__ import annotations

import mmap
import threading

import numpy as np

from cloudseg.data.buffers import Slots


def slots(count: int) -> Slots:
    return Slots(mmap.mmap(-1, 64 * count), count)


def test_slots_do_not_overlap() -> None:
    pool = slots(3)
    taken = [pool.take() for _ in range(3)]
    for slot, memory in taken:
        memory[:] = slot
    assert all((memory == slot).all() and len(memory) == 64 for slot, memory in taken)


def test_a_slot_is_free_again_when_nothing_refers_to_it() -> None:
    pool = slots(1)
    slot, memory = pool.take()
    del memory
    assert pool.take()[0] == slot


def test_a_view_of_a_view_keeps_a_slot() -> None:
    pool = slots(2)
    first, memory = pool.take()
    view = memory[:32].reshape(4, 8)[1:]
    del memory
    second, other = pool.take()
    assert second != first
    view[:] = 7
    assert not np.shares_memory(view, other)


def test_the_last_slot_is_spared() -> None:
    pool = slots(2)
    _, first = pool.take()
    assert pool.copy_if_last(first) is first
    _, last = pool.take()
    last[:] = 5
    copy = pool.copy_if_last(last)
    del last
    _, other = pool.take()
    other[:] = 6
    assert (copy == 5).all()


def test_taking_waits_until_a_slot_is_free() -> None:
    pool = slots(1)
    held = [pool.take()[1]]
    got: list[int] = []
    waiting = threading.Thread(target=lambda: got.append(pool.take()[0]))
    waiting.start()
    assert not got
    held.clear()
    waiting.join(10)
    assert got == [0]
