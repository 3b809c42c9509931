"""What every process of a step does first and last: find the other ranks, heed signals, leave together."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cloudseg.errors import CloudsegError
from cloudseg.run import Run

if TYPE_CHECKING:
    from cloudseg.training.comm import Comm
    from cloudseg.training.signals import StopFlag


@contextlib.contextmanager
def started(run: Run) -> Iterator[tuple[Comm, StopFlag]]:
    """The communicator of this process and the flag that stop signals set. Imports TensorFlow."""
    from cloudseg.training.signals import StopFlag

    stop = StopFlag()
    stop.install()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    import tensorflow as tf

    from cloudseg.training import comm

    communicator = comm.start(run.jobs)
    try:
        yield communicator, stop
    except tf.errors.OpError as error:
        if "Horovod has been shut down" not in error.message:
            raise
        raise CloudsegError(
            f"rank {communicator.rank} ends because another rank did; its reason is the one to read"
        ) from None
