"""Communication between ranks behind one interface: `Solo` for one process, `Horovod` for several.

The only module that calls Horovod's collectives.
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

EXTERNAL_LAUNCHERS = {"HOROVOD_RANK": "HOROVOD_SIZE", "OMPI_COMM_WORLD_RANK": "OMPI_COMM_WORLD_SIZE"}
"""Variables of rank and size that horovodrun and Open MPI's mpirun set. With them Horovod finds the other ranks."""

HOROVOD_SETTINGS = {
    # Without it, groups that are ready at the same time are fused, so the order of sums depends on timing.
    "HOROVOD_DISABLE_GROUP_FUSION": "1",
    # If there are more tensors than cache entries, Horovod negotiates all of them in each step.
    "HOROVOD_CACHE_CAPACITY": "4096",
}
"""Horovod's settings, unless the environment sets them."""
HOROVOD_SETTINGS_ON_CPUS = {
    # One buffer for all gradients; it takes only the memory that is filled. On GPUs it would take GPU memory, and
    # buckets are smaller than the default threshold there.
    "HOROVOD_FUSION_THRESHOLD": str(1 << 30),
    # Milliseconds between two negotiation cycles, each of which takes CPU time from computing. A new message starts a
    # cycle at once (env/patches), so no message waits this long.
    "HOROVOD_CYCLE_TIME": "200",
}


class Comm(Protocol):
    """The communicator of a rank: its position among the ranks, and the collective operations."""

    rank: int
    size: int
    local_rank: int
    """Index of this rank among the ranks of its node."""
    local_size: int
    """Number of ranks on this node."""
    device: str
    """Description of the device that this rank computes on."""

    def mean(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """Element-wise mean over the ranks. May be traced; every rank must call it in the same order."""

    @property
    def ordered(self) -> bool:
        """Whether `mean` sends its messages one after the other, so that its graph may run in a fixed order."""

    def broadcast(self, variables: list[tf.Variable]) -> None:
        """Assign rank 0's values to the variables of every rank."""

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in order of rank, on every rank. Values must be JSON-serializable.

        Raises CloudsegError if the ranks are not all at the same call.
        """

    def barrier(self) -> None:
        """Wait for all ranks."""


class Solo:
    """The communicator of a single process. `device` is given if the process has claimed its device before."""

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
    """The communicator of several ranks. All ranks must call its methods in the same order."""

    def __init__(self) -> None:
        import horovod.tensorflow as hvd

        self._hvd = hvd
        on_gpus = bool(tf.config.list_physical_devices("GPU"))
        settings = HOROVOD_SETTINGS if on_gpus else HOROVOD_SETTINGS | HOROVOD_SETTINGS_ON_CPUS
        for name, value in settings.items():
            os.environ.setdefault(name, value)
        hvd.init()
        self.rank: int = hvd.rank()
        self.size: int = hvd.size()
        self.local_rank: int = hvd.local_rank()
        self.local_size: int = hvd.local_size()
        self.device = claim_device(self.local_rank, self.local_size)
        self.bucket_bytes = buckets.LIMIT if on_gpus else math.inf
        """Largest message of `mean`. On GPUs, messages overlap with backpropagation; on CPUs that gains nothing."""
        self._gather_calls = 0
        # The first collective: after it, every rank is connected to the others.
        self.barrier()

    def mean(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        # A group is one fused buffer. Without groups, fusion and so the order of summation depend on timing, and four
        # ranks end with different weights in every run.
        kinds = [tensor.dtype.name for tensor in tensors]
        sizes = [tensor.dtype.size * tensor.shape.num_elements() for tensor in tensors]
        means = list(tensors)
        before: list[tf.Tensor] = []
        for number, part in enumerate(buckets.split(sizes, self.bucket_bytes, kinds)):
            reduction = {"op": self._hvd.Average}
            if kinds[part][0] == "float16":  # the sum over many ranks may overflow
                reduction = {"op": self._hvd.Sum, "prescale_factor": 1 / self.size}
            with tf.control_dependencies(before if self.ordered else []):
                before = self._hvd.grouped_allreduce(tensors[part], name=f"mean.{number}", **reduction)
            means[part] = before
        return means

    @property
    def ordered(self) -> bool:
        return self.bucket_bytes == math.inf

    def broadcast(self, variables: list[tf.Variable]) -> None:
        # Horovod's broadcast_variables uses AutoGraph, whose files remain in the temporary folder after SIGKILL.
        @tf.function(autograph=False)
        def assign() -> None:
            for variable in variables:
                variable.assign(self._hvd.broadcast(variable, root_rank=0))

        assign()

    def gather(self, value: Any) -> list[Any]:
        # Horovod's allgather_object unpickles data from the network, and does not detect ranks at different calls:
        # eager collectives ignore names.
        self._gather_calls += 1
        message = np.frombuffer(json.dumps([self._gather_calls, value]).encode(), np.uint8)
        sizes = self._hvd.allgather(tf.constant([len(message)]), name="gather_sizes").numpy()
        joined = self._hvd.allgather(tf.constant(message), name="gather").numpy().tobytes()
        ends = np.cumsum(sizes)
        received = [json.loads(joined[end - size : end]) for end, size in zip(ends, sizes, strict=True)]
        if {number for number, _ in received} != {self._gather_calls}:
            raise CloudsegError(f"rank {self.rank}: ranks are out of step: calls {[number for number, _ in received]}")
        return [value for _, value in received]

    def barrier(self) -> None:
        self._hvd.allreduce(tf.zeros(1), name="barrier")


def start(attempt: Attempt) -> Comm:
    """Create the communicator of this process, according to how it was started.

    A process may be alone, or started by horovodrun or mpirun, or by srun or `cloudseg.job.launcher`. In the last case
    the ranks meet through a file in the folder of `attempt`, which all nodes must share.

    Raises CloudsegError if Horovod sees another number of ranks than were started, Lost if ranks do not arrive.
    """
    # The watchdog (`heartbeat`) acts first, as it can name the rank that hangs. Horovod's timeouts come after it.
    limit = heartbeat.watchdog_limit(os.environ)
    os.environ.setdefault("HOROVOD_STALL_CHECK_TIME_SECONDS", f"{2 * limit:.0f}")
    os.environ.setdefault("HOROVOD_STALL_SHUTDOWN_TIME_SECONDS", f"{4 * limit:.0f}")
    os.environ.setdefault("HOROVOD_GLOO_TIMEOUT_SECONDS", f"{limit + 60:.0f}")
    for rank, size in EXTERNAL_LAUNCHERS.items():
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
            raise Lost(f"rank {place.rank}: not all ranks reached the rendezvous: {error}") from None


def means_lost_peer(error: tf.errors.OpError) -> bool:
    """Whether an operation failed because another rank is gone, from the messages of Horovod, Gloo and NCCL."""
    return any(word in error.message for word in ("Horovod has been shut down", "gloo/transport", "nccl"))


def may_be_transient(error: tf.errors.OpError) -> bool:
    """Whether another attempt, perhaps on another node, may succeed: the error may come from a GPU, its driver or a
    file server, as far as TensorFlow's classes of errors tell."""
    transient = (tf.errors.InternalError, tf.errors.UnknownError, tf.errors.UnavailableError, tf.errors.AbortedError)
    return isinstance(error, transient)


def claim_device(local_rank: int, local_size: int) -> str:
    """Assign this process its GPU or its share of the CPUs, and return a description of it.

    Must be called before TensorFlow's first operation.
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
