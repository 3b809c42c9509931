"""Start and end of every rank: connect to the other ranks, handle stop signals, record why the rank ended."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import logging
import os
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from cloudseg.core import attempt
from cloudseg.core.errors import CloudsegError, Lost, Stopped
from cloudseg.core.run import Run
from cloudseg.core.signals import StopFlag
from cloudseg.training import placement, stopping
from cloudseg.training.heartbeat import Heartbeat

if TYPE_CHECKING:
    from cloudseg.training.comm import Comm


@dataclasses.dataclass(frozen=True)
class Rank:
    """This process as one of the ranks of a job step."""

    comm: Comm
    stop: StopFlag
    heartbeat: Heartbeat
    attempt: attempt.Attempt


@contextlib.contextmanager
def started(run: Run, stop: StopFlag) -> Iterator[Rank]:
    """Context in which this process is connected to the other ranks. Imports TensorFlow.

    An error within the context is recorded in the attempt's folder and raised again: as Lost if another rank is its
    cause, as Stopped if this rank has received a stop signal.
    """
    place = placement.read(os.environ)
    own = attempt.current(run.jobs)
    number, size = (place.rank, place.size) if place else (0, 1)
    heartbeat = Heartbeat(own, number, size)
    heartbeat.start()
    with stopping.propagated(own, number, stop):
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        with _imports():
            import tensorflow as tf

            from cloudseg.training import comm

        try:
            yield Rank(comm.start(own), stop, heartbeat, own)
        except Stopped as error:
            own.end(number, attempt.STOPPED, str(error))
            raise
        except Lost as error:
            # After a stop signal ranks do not leave at the same time; the last ones lose the others.
            own.end(number, attempt.STOPPED if stop.received() else attempt.LOST, str(error))
            raise
        except CloudsegError as error:
            own.end(number, attempt.FAILED, str(error))
            raise
        except Exception as error:
            if stop.received():  # interrupted compiled code raises various errors, and so do the other ranks
                own.end(number, attempt.STOPPED, stopping.REASON)
                raise Stopped(stopping.REASON) from None
            if not isinstance(error, tf.errors.OpError):
                how = attempt.LOST if isinstance(error, OSError) else attempt.FAILED
                own.end(number, how, "".join(traceback.format_exception_only(error)).strip())
                raise
            if not comm.means_lost_peer(error):
                own.end(number, attempt.LOST if comm.may_be_transient(error) else attempt.FAILED, error.message)
                raise
            reason = f"rank {number} ends because another rank ended: {heartbeat.explain()}"
            own.end(number, attempt.LOST, reason)
            raise Lost(reason) from None
        else:
            if attempt.KEY_VARIABLE not in os.environ and number == 0:
                own.remove()  # no launcher reads it
        finally:
            heartbeat.stop()


@contextlib.contextmanager
def _imports() -> Iterator[None]:
    """Context for imports. No garbage collection examines the objects that they create, within it or later.

    These are several hundred thousand, all kept until the process ends.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def on_rank_zero(rank: Rank, work: Callable[[], None]) -> None:
    """Call `work` on rank 0; the other ranks wait until it is done."""
    if rank.comm.rank == 0:
        work()
        rank.comm.barrier()
    else:
        with rank.heartbeat.watchdog_paused():
            rank.comm.barrier()
