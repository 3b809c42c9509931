"""The recipe: which stages there are, in what order, and what each of them trains. Data, no TensorFlow."""

from __future__ import annotations

import dataclasses

STAGES = ("frozen", "partial", "full")
"""The stages in the order in which they hand weights to each other."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of fine-tuning: what trains, for how long, at which learning rate."""

    encoder: float
    """Share of the encoder's parameters that trains, counted from its end; the decoder always trains."""
    epochs: int
    lr: float
    """Peak learning rate of Adam."""
    hold: int = 0
    """Epochs at `lr` before it decays; without `decay` it never does."""
    decay: float = 1.0
    """`lr` over the last learning rate: 1000 goes down exponentially to a thousandth."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises linearly from 0: the optimizer starts each stage afresh."""


def folder(stage: str) -> str:
    """'partial' -> '2-partial': folders sort in the order of the stages."""
    return f"{STAGES.index(stage) + 1}-{stage}"


def predecessor(stage: str) -> str | None:
    """The stage whose weights this one starts from, None for the first."""
    index = STAGES.index(stage)
    return STAGES[index - 1] if index else None


RECIPES: dict[str, dict[str, Stage]] = {
    # As published with the source work: 10 epochs at 1e-2, 15 that end a thousand times lower, 5 + 5 at 1e-6.
    "paper": {
        "frozen": Stage(encoder=0.0, epochs=25, lr=1e-2, hold=10, decay=1000.0),
        "partial": Stage(encoder=0.2, epochs=5, lr=1e-6, warmup_steps=50),
        "full": Stage(encoder=1.0, epochs=5, lr=1e-6, warmup_steps=50),
    },
    # For a hundred small generated images and an encoder that starts at random: most of the time goes into
    # the stage that trains everything.
    "demo": {
        "frozen": Stage(encoder=0.0, epochs=3, lr=3e-3, warmup_steps=10),
        "partial": Stage(encoder=0.2, epochs=3, lr=2e-3, warmup_steps=10),
        "full": Stage(encoder=1.0, epochs=9, lr=2e-3, hold=3, decay=20.0, warmup_steps=10),
    },
}
