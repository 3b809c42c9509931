"""The ranks of one training step behind one seam: `Solo` for one process, `Horovod` for many.

The only module that imports Horovod.
"""

from __future__ import annotations

import json
import math
import os
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from cloudseg.core.attempt import Attempt
from cloudseg.core.errors import CloudsegError, Lost
from cloudseg.training import buckets, determinism, heartbeat, placement, rendezvous

EXTERNAL_STARTERS = {"HOROVOD_RANK": "HOROVOD_SIZE", "OMPI_COMM_WORLD_RANK": "OMPI_COMM_WORLD_SIZE"}
"""Set by horovodrun and by Open MPI's mpirun, after which Horovod finds the other ranks without our help."""

KNOBS = {
    # What the program calls a group travels alone: groups that are ready at once would be fused, as the clock has it.
    "HOROVOD_DISABLE_GROUP_FUSION": "1",
    # Horovod knows a tensor it has met by a number; with more of them than this all are negotiated anew in each step.
    "HOROVOD_CACHE_CAPACITY": "4096",
}
"""Of Horovod, unless the environment, as a site's, says otherwise."""
KNOBS_OF_CPUS = {
    # All gradients in one buffer, which takes memory as far as it is filled. On GPUs it would be taken from them, and
    # buckets are smaller than the default.
    "HOROVOD_FUSION_THRESHOLD": str(1 << 30),
    # Milliseconds between two looks for messages, which all ranks take together: each takes time from computing. A
    # message wakes it (env/patches), so that none waits for so long.
    "HOROVOD_CYCLE_TIME": "200",
}


class Comm(Protocol):
    rank: int
    size: int
    local_rank: int
    local_size: int
    """This rank among those of its node, and their number."""
    device: str
    """What this rank computes on, in words."""

    def mean(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """Element-wise mean over the ranks. May be traced; every rank must call it in the same order."""

    @property
    def ordered(self) -> bool:
        """Whether the messages of `mean` follow one another, so that graphs with it may run in one fixed order."""

    def broadcast(self, variables: list[tf.Variable]) -> None:
        """Rank 0's values into every rank's variables."""

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value (as JSON has them), in order of rank, on every rank.

        Raises CloudsegError if the ranks are not all at the same call.
        """

    def barrier(self) -> None:
        """Wait for all ranks."""


class Solo:
    """One process; on `device`, if it has claimed that before."""

    rank, size, local_rank, local_size = 0, 1, 0, 1
    ordered = True

    def __init__(self, device: str = "") -> None:
        self.device = device or claim_device(0, 1)

    def mean(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        return tensors

    def broadcast(self, variables: list[tf.Variable]) -> None:
        pass

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def barrier(self) -> None:
        pass


class Horovod:
    """All ranks of a step. Collectives are ordered by the program: ranks must stay in lock step."""

    def __init__(self) -> None:
        import horovod.tensorflow as hvd

        self._hvd = hvd
        on_gpus = bool(tf.config.list_physical_devices("GPU"))
        for name, value in (KNOBS if on_gpus else KNOBS | KNOBS_OF_CPUS).items():
            os.environ.setdefault(name, value)
        hvd.init()
        self.rank: int = hvd.rank()
        self.size: int = hvd.size()
        self.local_rank: int = hvd.local_rank()
        self.local_size: int = hvd.local_size()
        self.device = claim_device(self.local_rank, self.local_size)
        self.bucket_bytes = buckets.LIMIT if on_gpus else math.inf
        """Of a message of `mean`. On GPUs messages leave while backpropagation goes on; a CPU that computes has no time
        for them."""
        self._gathered = 0
        # The first collective: past it, every rank has met the others.
        self.barrier()

    def mean(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        # A group is one fused buffer: without it fusion follows the clock, and with it the order of
        # summation, so that four ranks would end with other weights in every run.
        kinds = [tensor.dtype.name for tensor in tensors]
        sizes = [tensor.dtype.size * tensor.shape.num_elements() for tensor in tensors]
        means = list(tensors)
        before: list[tf.Tensor] = []
        for number, part in enumerate(buckets.split(sizes, self.bucket_bytes, kinds)):
            how = {"op": self._hvd.Average}
            if kinds[part][0] == "float16":  # the sum of many ranks would overflow
                how = {"op": self._hvd.Sum, "prescale_factor": 1 / self.size}
            with tf.control_dependencies(before if self.ordered else []):
                before = self._hvd.grouped_allreduce(tensors[part], name=f"mean.{number}", **how)
            means[part] = before
        return means

    @property
    def ordered(self) -> bool:
        return self.bucket_bytes == math.inf

    def broadcast(self, variables: list[tf.Variable]) -> None:
        # Horovod's own broadcast_variables is traced with AutoGraph, whose files stay in the temporary folder after
        # SIGKILL.
        @tf.function(autograph=False)
        def assign() -> None:
            for variable in variables:
                variable.assign(self._hvd.broadcast(variable, root_rank=0))

        assign()

    def gather(self, value: Any) -> list[Any]:
        # Horovod's own way for objects unpickles what comes over the network, and mixes up calls: eager collectives
        # ignore names.
        self._gathered += 1
        own = np.frombuffer(json.dumps([self._gathered, value]).encode(), np.uint8)
        sizes = self._hvd.allgather(tf.constant([len(own)]), name="gather_sizes").numpy()
        joined = self._hvd.allgather(tf.constant(own), name="gather").numpy().tobytes()
        ends = np.cumsum(sizes)
        found = [json.loads(joined[end - size : end]) for end, size in zip(ends, sizes, strict=True)]
        if {number for number, _ in found} != {self._gathered}:
            raise CloudsegError(f"rank {self.rank}: ranks are out of step: calls {[number for number, _ in found]}")
        return [value for _, value in found]

    def barrier(self) -> None:
        self._hvd.allreduce(tf.zeros(1), name="barrier")


def start(attempt: Attempt) -> Comm:
    """The communicator of this process, from how it was started.

    Alone; by horovodrun or mpirun; or by a plain srun or `cloudseg.job.launcher`, whose ranks meet through a
    file in the folder of `attempt`, which all nodes must share.
    """
    # Ranks that go silent are found by `pulse`, which can name them; Horovod's own ways come after it.
    silence = heartbeat.limit(os.environ)
    os.environ.setdefault("HOROVOD_STALL_CHECK_TIME_SECONDS", f"{2 * silence:.0f}")
    os.environ.setdefault("HOROVOD_STALL_SHUTDOWN_TIME_SECONDS", f"{4 * silence:.0f}")
    os.environ.setdefault("HOROVOD_GLOO_TIMEOUT_SECONDS", f"{silence + 60:.0f}")
    for rank, size in EXTERNAL_STARTERS.items():
        if rank in os.environ:
            comm = Horovod()
            if comm.size != int(os.environ[size]):
                raise CloudsegError(
                    f"{os.environ[size]} ranks were started, but Horovod sees {comm.size}: it was built without "
                    "what starts them. Use srun, horovodrun --gloo, or env/setup.sh where mpicxx is on the PATH"
                )
            return comm
    place = placement.read(os.environ)
    if place is None or place.size == 1:
        return Solo()
    with rendezvous.joined(place, attempt):
        try:
            return Horovod()
        except (RuntimeError, tf.errors.OpError) as error:
            raise Lost(f"rank {place.rank}: not all ranks came to meet: {error}") from None


def means_lost_peer(error: tf.errors.OpError) -> bool:
    """Whether an operation failed because another rank is gone, as Horovod, Gloo and NCCL say it."""
    return any(word in error.message for word in ("Horovod has been shut down", "gloo/transport", "nccl"))


def may_be_transient(error: tf.errors.OpError) -> bool:
    """Whether another try, maybe on another node, can do better: a fault of a GPU, its driver or a file server, as far
    as TensorFlow tells them from faults of the program."""
    passing = (tf.errors.InternalError, tf.errors.UnknownError, tf.errors.UnavailableError, tf.errors.AbortedError)
    return isinstance(error, passing)


def claim_device(local_rank: int, local_size: int) -> str:
    """Give this process its GPU, or its share of the CPUs, and say which, in words.

    Must come before TensorFlow's first operation.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        # srun --gpus-per-task shows each rank its own GPU only.
        gpu = gpus[local_rank] if len(gpus) > 1 else gpus[0]
        tf.config.set_visible_devices(gpu, "GPU")
        tf.config.experimental.set_memory_growth(gpu, True)
        return gpu.name
    threads = placement.threads_per_rank(os.environ, len(os.sched_getaffinity(0)), local_size)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    determinism.fix()
    return f"{threads} CPU thread{'s' if threads > 1 else ''}"
