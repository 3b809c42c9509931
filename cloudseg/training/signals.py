"""Signals that ask a rank to stop: they set a flag, and the training loop looks at it."""

from __future__ import annotations

import signal
from types import FrameType

STOP_SIGNALS = (signal.SIGUSR2, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)
"""Slurm's warning before the walltime or a preemption, `scancel`, and Ctrl-C on a laptop."""


class StopFlag:
    """Set by the first stop signal; a second Ctrl-C ends the process at once."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    @property
    def asked(self) -> bool:
        return self.signal is not None

    def install(self) -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, self._catch)

    def _catch(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
