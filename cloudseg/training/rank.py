"""What every process of a step does first and last: find the other ranks, heed signals, leave together."""

from __future__ import annotations

import contextlib
import dataclasses
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
    """This process among the ranks of a step."""

    comm: Comm
    stop: StopFlag
    heartbeat: Heartbeat
    attempt: attempt.Attempt


@contextlib.contextmanager
def started(run: Run, stop: StopFlag) -> Iterator[Rank]:
    """Meet the other ranks. Imports TensorFlow.

    If what is done within ends with an error, the reason is left in the attempt's folder. Raises Lost for what other
    ranks are the reason of, and Stopped if all were asked to stop.
    """
    place = placement.read(os.environ)
    own = attempt.own(run.jobs)
    number, size = (place.rank, place.size) if place else (0, 1)
    heartbeat = Heartbeat(own, number, size)
    heartbeat.start()
    with stopping.together(own, number, stop):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        import tensorflow as tf

        from cloudseg.training import comm

        try:
            yield Rank(comm.start(own), stop, heartbeat, own)
        except Stopped as error:
            own.end(number, attempt.STOPPED, str(error))
            raise
        except Lost as error:
            # Ranks that were all asked to stop do not leave at once; the last ones find themselves alone.
            own.end(number, attempt.STOPPED if stop.received() else attempt.LOST, str(error))
            raise
        except CloudsegError as error:
            own.end(number, attempt.FAILED, str(error))
            raise
        except Exception as error:
            if stop.received():  # compiled code that is interrupted raises errors of its own, and so do its peers
                own.end(number, attempt.STOPPED, stopping.REASON)
                raise Stopped(stopping.REASON) from None
            if not isinstance(error, tf.errors.OpError):
                how = attempt.LOST if isinstance(error, OSError) else attempt.FAILED
                own.end(number, how, "".join(traceback.format_exception_only(error)).strip())
                raise
            if not comm.means_lost_peer(error):
                own.end(number, attempt.LOST if comm.may_be_transient(error) else attempt.FAILED, error.message)
                raise
            reason = f"rank {number} ends because another rank did: {heartbeat.explain()}"
            own.end(number, attempt.LOST, reason)
            raise Lost(reason) from None
        else:
            if attempt.VARIABLE not in os.environ and number == 0:
                own.remove()  # nobody waits to read it
        finally:
            heartbeat.stop()


def on_first(rank: Rank, work: Callable[[], None]) -> None:
    """Rank 0 does what is for one process; the others wait until it has."""
    if rank.comm.rank == 0:
        work()
        rank.comm.barrier()
    else:
        with rank.heartbeat.patient():
            rank.comm.barrier()
