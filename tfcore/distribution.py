"""More than one device, more than one machine: tf.distribute, and what the workers of a run tell each other.

A worker is a process, a replica a device that takes steps; each worker has as many replicas. Worker 0 is the chief: it
alone writes into the run directory and prints.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfcore import cluster, files, tree
from tfcore.quiet import tf
from tfcore.training import TrainState
from tfcore.types import Array, Tensor, Tree

if TYPE_CHECKING:
    from tfcore.run.directory import Place
    from tfcore.run.plan import Plan

STRATEGIES = ("none", "mirrored", "multi_worker")
LOST = (
    tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError, tf.errors.InternalError,
)  # fmt: skip


class Drifted(ValueError):
    """Replicas that should be alike are not; the sentence says which, and where."""


@contextlib.contextmanager
def started(name: str) -> Iterator[tf.distribute.Strategy | None]:
    """Yields the strategy of this name: None for "none". Begin with it: TensorFlow must not have computed anything yet.

    "mirrored" takes all GPUs of this machine, or its logical CPU devices. "multi_worker" reads TF_CONFIG, waits for the
    other workers, and while the block runs ends this process when one of them is gone; of one worker it is "none".

    Raises:
      ValueError: TF_CONFIG is not what it should be.
      OSError: a worker does not come, or the port of this one is in use.
    """
    if name not in STRATEGIES:
        raise ValueError(f"strategy={name} is not one of {', '.join(STRATEGIES)}")
    if name == "none":
        yield None
        return
    if name == "mirrored":
        yield _mirrored()
        return
    _let_gpus_grow()
    workers = cluster.from_environment()
    if len(workers.addresses) == 1:
        yield None
        return
    hosts = ",".join(cluster.host_and_port(address)[0] for address in workers.addresses)
    os.environ.update(no_grpc_proxy=hosts)  # workers are asked directly, whatever proxy downloads take
    with cluster.door(workers.addresses[workers.index]):
        cluster.wait_for_all(workers)
    with cluster.Watch(workers) as watch:
        with watch.begun_within(cluster.MEET):
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
        yield strategy


def _let_gpus_grow():
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)  # else the first process takes all of its memory


@functools.cache
def _mirrored():
    """Returns the one MirroredStrategy of this process: a second would take the first one's keys of reductions."""
    _let_gpus_grow()
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


@dataclasses.dataclass(frozen=True)
class Team:
    """The replicas of a run, seen by one of its workers. One replica alone costs nothing: nothing is wrapped then.

    worker, workers: the number of this process, and how many there are; here: replicas in each of them.
    addresses: of the workers, "host:port", () where they are not known.
    """

    strategy: tf.distribute.Strategy | None = None
    worker: int = 0
    workers: int = 1
    here: int = 1
    addresses: tuple[str, ...] = ()

    @classmethod
    def of(cls, strategy: tf.distribute.Strategy | None) -> "Team":
        """Returns the team of a strategy; None means one device."""
        if strategy is None:
            return cls()
        here, replicas = len(strategy.extended.worker_devices), strategy.num_replicas_in_sync
        resolver, addresses = strategy.cluster_resolver, ()
        if resolver and (jobs := resolver.cluster_spec().as_dict()):
            addresses = tuple(address for job in ("chief", "worker") for address in jobs.get(job, []))
        number = strategy.run(lambda: tf.convert_to_tensor(_replica()))
        first = int(strategy.experimental_local_results(number)[0])
        return cls(strategy, first // here, replicas // here, here, addresses)

    @property
    def replicas(self) -> int:
        """How many devices take a step together."""
        return self.workers * self.here

    @property
    def chief(self) -> bool:
        """True for the one worker that writes and prints."""
        return self.worker == 0

    def name(self, worker: int) -> str:
        """Returns "worker 1 (host:port)"."""
        return f"worker {worker}" + (f" ({self.addresses[worker]})" if self.addresses else "")

    def refuse(self, plan: "Plan") -> None:
        """Raises ValueError: a run of this plan cannot be shared by so many replicas."""
        if plan.batch_size % self.replicas:
            raise ValueError(f"batch_size={plan.batch_size} cannot be shared evenly by {self.replicas} replicas")
        if plan.check_numerics and self.replicas > 1:
            raise ValueError("check_numerics=True looks at the steps of one device: use strategy=none")

    # Devices

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Returns what variables are made in: with several replicas here each variable has a copy on each of them."""
        return self.strategy.scope() if self.here > 1 else contextlib.nullcontext()

    def copy_of(self, leaf: Array) -> tf.Variable:
        """Returns a variable of `scope` with the value of `leaf`: itself where it is one."""
        if isinstance(leaf, tf.Variable) and (self.here == 1 or self.strategy.extended.variable_created_in_scope(leaf)):
            return leaf
        return tf.Variable(leaf, trainable=leaf.trainable if isinstance(leaf, tf.Variable) else True)

    def copies(self, state: TrainState) -> list[TrainState]:
        """Returns for each replica here the state of its own variables."""
        if self.here == 1:
            return [state]
        results = self.strategy.experimental_local_results
        parts = [[tree.map(lambda v: results(v)[i], part) for part in state[:4]] for i in range(self.here)]  # noqa: B023
        return [TrainState._make([*part, results(state.step)[i]]) for i, part in enumerate(parts)]

    def run(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Calls fn(*args) on every replica and returns what the first one here returns."""
        if self.replicas == 1:
            return fn(*args)
        results = self.strategy.run(fn, args)
        return tf.nest.map_structure(lambda v: self.strategy.experimental_local_results(v)[0], results)

    # Shares of the data

    def columns(self, indices: np.ndarray) -> np.ndarray:
        """Returns this worker's share of each batch. [steps, B] -> [steps, B / workers]."""
        size = indices.shape[1] // self.workers
        return indices[:, self.worker * size : (self.worker + 1) * size]

    def rows(self, count: int) -> slice:
        """Returns the slice of `count` examples that this worker evaluates."""
        return slice(count * self.worker // self.workers, count * (self.worker + 1) // self.workers)

    # What workers tell each other

    @functools.cached_property
    def total(self) -> Callable[[Array], Tensor]:
        """words -> their sum over the workers, elementwise: a tensor or array [n] of the same n for all."""

        def own(words):
            first = tf.equal(_replica() % self.here, 0)  # of the replicas here one speaks
            words = tf.where(first, words, tf.zeros_like(words))
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, words)

        return tf.function(lambda words: self.run(own, words), autograph=False, reduce_retracing=True)

    def numbers(self, number: int) -> list[int]:
        """Returns the number that each worker gives, in their order."""
        if self.workers == 1:
            return [number]
        given = np.zeros(self.workers, np.int64)
        given[self.worker] = number
        return [int(n) for n in self.total(tf.constant(given)).numpy()]

    def most(self, number: int) -> int:
        """Returns the largest of the numbers that the workers give."""
        return max(self.numbers(number))

    def spoken(self, data: bytes) -> list[bytes]:
        """Returns the bytes that each worker gives, in their order."""
        if self.workers == 1:
            return [data]
        sizes = self.numbers(len(data))
        words = [-(-size // 4) for size in sizes]
        given, begin = np.zeros(sum(words), np.int32), sum(words[: self.worker])
        given[begin : begin + words[self.worker]] = np.frombuffer(data.ljust(4 * words[self.worker], b"\0"), np.int32)
        heard = self.total(tf.constant(given)).numpy().tobytes() if sum(words) else b""
        begins = np.cumsum([0, *words])[:-1] * 4
        return [heard[begin : begin + size] for begin, size in zip(begins, sizes)]

    def told(self, value: Any) -> Any:
        """Returns what the chief gives, JSON values; what the others give does not matter."""
        if self.workers == 1:
            return value
        return json.loads(self.spoken(json.dumps(value).encode() if self.chief else b"")[0])

    def joined(self, array: np.ndarray, axis: int = 0) -> np.ndarray:
        """Returns the arrays of all workers, which are alike but for the length of `axis`, one behind the other."""
        if self.workers == 1:
            return array
        shape = lambda size: (*array.shape[:axis], size, *array.shape[axis + 1 :])  # noqa: E731
        parts = zip(self.spoken(array.tobytes()), self.numbers(array.shape[axis]))
        return np.concatenate([np.frombuffer(data, array.dtype).reshape(shape(n)) for data, n in parts], axis)

    def take_over(self, state: TrainState, value: Any = None) -> Any:
        """Assigns the chief's state to that of all workers, bit by bit, and returns the chief's `value`."""
        if self.workers > 1:
            leaves = [*tree.leaves({"w": state.weights, "s": state.stats, "o": state.slots}), state.step]
            data = b"".join(leaf.numpy().tobytes() for leaf in leaves) if self.chief else b""
            data, begin = self.spoken(data)[0], 0
            for leaf in leaves if not self.chief else ():
                count, dtype = leaf.shape.num_elements(), leaf.dtype.as_numpy_dtype
                leaf.assign(np.frombuffer(data, dtype, count, begin).reshape(leaf.shape))
                begin += count * leaf.dtype.size
        return self.told(value)

    # What must be alike

    def agree(self, settings: Tree) -> None:
        """Raises ValueError: a worker was started with other settings, or has other data, than the chief.

        settings: a tree of JSON values.
        """
        given = [json.loads(data) for data in self.spoken(json.dumps(tree.flatten(settings)).encode())]
        for worker, found in enumerate(given):
            names = [name for name in {**given[0], **found} if found.get(name) != given[0].get(name)]
            if names:
                short = {name: name.partition("/")[2] or name for name in names}  # of config/, run/ or content/
                differences = (f"{short[name]} is {found.get(name)}, there {given[0].get(name)}" for name in names)
                raise ValueError(f"{self.name(worker)} is not set up as {self.name(0)}: {'; '.join(differences)}")

    def compare(self, state: TrainState, when: str) -> None:
        """Compares a hash of every variable of every replica.

        Raises:
          Drifted: they are not alike; all workers raise it.
        """
        if self.replicas == 1:
            return
        mine = [_hashes(copy) for copy in self.copies(state)]
        every = [found for data in self.spoken(json.dumps(mine).encode()) for found in json.loads(data)]
        for replica, found in enumerate(every):
            if paths := [path.removeprefix("weights/") for path in every[0] if found[path] != every[0][path]]:
                more = f" and {len(paths) - 4} more" if len(paths) > 4 else ""
                which = f"replica {replica}, of {self.name(replica // self.here)},"
                raise Drifted(f"{when}: {which} has drifted from replica 0: {', '.join(paths[:4])}{more} differ; "
                              "an update that differs between replicas, or a broken device")  # fmt: skip

    # Files

    def own_directory(self, logdir: str | Path) -> str | Path:
        """Returns the run directory for the chief; for others one of their own, which ends with the process."""
        if self.chief:
            return logdir
        mine = Path(_scratch().name)
        return Path(logdir) if Path(logdir).is_relative_to(mine) else mine / Path(logdir).name

    def hand_out(self, place: "Place | Path", *names: str) -> None:
        """Writes the chief's files of these names in `place`, those that there are, into that of all workers."""
        for name in names if self.workers > 1 else ():
            path = place / name
            data = self.spoken(path.read_bytes() if self.chief and path.exists() else b"")[0]
            if data and not self.chief:
                path.parent.mkdir(parents=True, exist_ok=True)
                with files.durable(path) as file:
                    file.write(data)

    @contextlib.contextmanager
    def naming_the_lost(self) -> Iterator[None]:
        """Makes of an error of TensorFlow, because another worker is gone, a ConnectionError that names that worker."""
        try:
            yield
        except LOST as error:
            if self.workers == 1:
                raise
            workers = cluster.Cluster(self.addresses, self.worker)
            raise ConnectionError(cluster.first_gone(workers) or f"the workers lost each other: {error}") from None


ALONE = Team()  # one device


def _replica():
    return tf.distribute.get_replica_context().replica_id_in_sync_group


def _hashes(state):
    parts = {"weights": state.weights, "stats": state.stats, "slots": state.slots, "step": state.step}
    return {path: hashlib.sha256(v.numpy().tobytes()).hexdigest()[:16] for path, v in tree.flatten(parts).items()}


@functools.cache
def _scratch():
    return tempfile.TemporaryDirectory(prefix="tfcore-worker-")
