"""Gradients in messages of fixed content: which tensors travel together decides the order of their sums. Pure."""

from __future__ import annotations

from collections.abc import Sequence

LIMIT = 25 << 20
"""Bytes of a message. As in PyTorch's DistributedDataParallel (Li et al. 2020, VLDB 13(12)): small enough that the
first leaves while most of backpropagation is still to come, large enough that latency does not count."""


def split(sizes: Sequence[int], limit: float, kinds: Sequence[str] | None = None) -> list[slice]:
    """Neighbours that travel together, the last first: backpropagation ends with the first layers.

    `sizes` are bytes of the tensors in the order of the layers; a tensor larger than `limit` travels alone, and those
    of different `kinds`, as float16 and float32, do not travel together.
    """
    out: list[slice] = []
    end, total = len(sizes), 0
    for i in reversed(range(len(sizes))):
        if i + 1 < end and (total + sizes[i] > limit or (kinds and kinds[i] != kinds[i + 1])):
            out.append(slice(i + 1, end))
            end, total = i + 1, 0
        total += sizes[i]
    return [*out, slice(0, end)] if end else out
