"""Splits gradients into allreduce messages of fixed content, as the grouping decides the order of the sums. Pure."""

from __future__ import annotations

from collections.abc import Sequence

LIMIT = 25 << 20
"""Bytes of a message, as in PyTorch's DistributedDataParallel (Li et al. 2020, VLDB 13(12)): small enough that the
first message is sent early in backpropagation, large enough that latency does not matter."""


def split(sizes: Sequence[int], limit: float, kinds: Sequence[str] | None = None) -> list[slice]:
    """Group neighbouring tensors into messages, the last tensors first, as backpropagation ends with the first layers.

    `sizes` are the bytes of the tensors in the order of the layers. A tensor larger than `limit` bytes is a message of
    its own. Tensors of different `kinds` (names of dtypes, as float16 and float32) never share a message.
    """
    out: list[slice] = []
    end, total = len(sizes), 0
    for i in reversed(range(len(sizes))):
        if i + 1 < end and (total + sizes[i] > limit or (kinds and kinds[i] != kinds[i + 1])):
            out.append(slice(i + 1, end))
            end, total = i + 1, 0
        total += sizes[i]
    return [*out, slice(0, end)] if end else out
