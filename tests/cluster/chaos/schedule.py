"""From a seed to faults: what happens to a chain, in which stage, after which step. Pure."""

from __future__ import annotations

import dataclasses
import random

from tests.cluster.chain import STAGES

MOMENTS = (0, 8, 16)
"""Steps of which there must be a checkpoint before a fault strikes; 0 is while the stage starts."""

AT_ANY_TIME = ("kill rank", "crash node", "signal", "cancel step", "fill disk")
ONCE_TRAINING = ("stop rank", "cut network", "kill while saving", "damage checkpoint")
"""While a stage starts, silence is borne for minutes, and there is no checkpoint."""


@dataclasses.dataclass(frozen=True)
class Fault:
    stage: str
    after_step: int
    kind: str
    rank: int
    """Which of two, or the node with it, where the kind has a choice."""

    def __str__(self) -> str:
        whom = f" {self.rank}" if self.kind in ("kill rank", "stop rank", "crash node", "cut network") else ""
        return f"{self.kind}{whom} in {self.stage} after {self.after_step}"


@dataclasses.dataclass(frozen=True)
class Schedule:
    partition: str
    faults: tuple[Fault, ...]
    """In the order in which they strike."""


def schedule(seed: int) -> Schedule:
    """Two to four faults, at most one at each moment of a stage."""
    chance = random.Random(seed)
    partition = chance.choice(("gpu", "low", "low0"))
    moments = chance.sample([(stage, step) for stage in range(len(STAGES)) for step in MOMENTS], chance.randint(2, 4))
    faults = []
    for stage, step in sorted(moments):
        kinds = [*AT_ANY_TIME, *(ONCE_TRAINING if step else ()), *(("preempt",) if partition != "gpu" else ())]
        faults.append(Fault(STAGES[stage], step, chance.choice(kinds), chance.randint(0, 1)))
    return Schedule(partition, tuple(faults))
