"""A step taken op by op: the first operation whose output is not finite, where it is, and what went into it."""

import contextlib
import os
import traceback
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

# Private, where tf.debugging.enable_check_numerics would be public: that one has neither inputs nor places, and raises.
from tensorflow.python.framework import op_callbacks

from tfcore import training, tree
from tfcore.optimizers import Optimizer
from tfcore.quiet import tf
from tfcore.run.task import Task, loss_fn_of
from tfcore.training import TrainState
from tfcore.types import Seed, Tensor

if TYPE_CHECKING:
    from tfcore.run.blocks import Block

FORWARD, GRADIENT, UPDATE = "forward pass", "gradient", "update"
SHOWN = 3  # entries of an input


class Finding(NamedTuple):
    """An operation that gave what is not finite.

    op: its type, such as "Log"; phase: "forward pass", "gradient" or "update".
    where: "in conv1, at conv1/w", "behind logits": the name scope and what its inputs come from, "" if unknown.
    line: the place in the program, "" where there is none.
    outputs, inputs: one text each: shape, range, what is not finite, the largest entries and their positions; outputs
    are those that are not finite, inputs begin with the largest.
    """

    op: str
    phase: str
    where: str
    line: str
    outputs: list[str]
    inputs: list[str]

    def __str__(self):
        """Returns the finding in one line."""
        into = f"; its inputs: {' | '.join(self.inputs)}" if self.inputs else ""
        return f"{self.op} {self.place}: {' | '.join(self.outputs)}{into}"

    @property
    def place(self) -> str:
        """Returns "in the forward pass, behind logits (loss.py:12 in focal_loss)"."""
        place = ", ".join(part for part in (f"in the {self.phase}", self.where) if part)
        return f"{place} ({self.line})" if self.line else place


class OpNotFinite(FloatingPointError):
    """An operation of a step gave what is not finite; `finding` says which. The state may be half updated."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


def step(task: Task, state: TrainState, batch: "Block", seed: Seed) -> dict[str, Tensor]:
    """Takes one step eagerly, looking at the output of every operation, and returns its metrics.

    Args:
      batch: a `blocks.Block` of one step.
      seed: of the run.
    Raises:
      OpNotFinite: it names the first operation whose output is not finite; put the state back yourself.
    """
    watch, loss_fn = _Watch(state), loss_fn_of(task)

    def forward(*args):
        result = loss_fn(*args)
        watch.phase = GRADIENT
        return result

    def update(*args):
        watch.phase = UPDATE
        task.optimizer.update(*args)

    images, labels, draws = (part[0] for part in batch)
    with watch.watching():
        images = task.augment(images, draws) if task.augment else images
        stepwise = Optimizer(task.optimizer.init, update)
        return training.train_step(state, (images, labels), seed, loss_fn=forward, optimizer=stepwise)


def forward(task: Task, state: TrainState, batch: "Block", *, test: bool = False) -> None:
    """Takes one forward pass eagerly, as validation does, or the test, looking at the output of every operation.

    Arguments and errors are those of `step`.
    """
    weights = training.averages(state.weights, state.slots)
    with _Watch(state).watching():
        (task.test_forward if test and task.test_forward else task.forward)(
            weights, state.stats, batch.images[0], training=False
        )


class _Watch:
    """Looks at each operation as it is executed, and remembers the first that gave what is not finite."""

    def __init__(self, state):
        self.phase, self.found, self._origins = FORWARD, None, {}
        parts = {"weights": state.weights, "stats": state.stats, "slots": state.slots}
        self._variables = {}
        for path, variable in tree.flatten(parts).items():
            self._remember(variable.handle, Origin(path.removeprefix("weights/"), VARIABLE))
            self._variables[id(variable.handle)] = variable

    @contextlib.contextmanager
    def watching(self):
        """Watches the block, inside its tf.functions too. Raises OpNotFinite at its end."""
        eagerly = tf.config.functions_run_eagerly()
        tf.config.run_functions_eagerly(True)
        op_callbacks.add_op_callback(self._see)
        try:
            yield
        except Exception:
            if self.found is None:
                raise  # otherwise it came from what is not finite
        finally:
            op_callbacks.remove_op_callback(self._see)
            tf.config.run_functions_eagerly(eagerly)
        if self.found:
            raise OpNotFinite(self.found)

    def _see(self, op_type, inputs, attrs, outputs, op_name=None, graph=None):
        if self.found or graph is not None:
            return
        op_type = tf.compat.as_str(op_type)  # bytes where Python called C++ by the slow way
        origins = [self._origins[id(tensor)][1] for tensor in inputs if id(tensor) in self._origins]
        origin = min(origins, key=lambda origin: origin.rank, default=None)
        for tensor in outputs if origin else ():
            self._remember(tensor, self._inherited(op_type, origin))
        if outputs:
            results = [("", tensor) for tensor in outputs]
        else:  # it changes variables
            changed = [self._origins[id(t)][1].name for t in inputs if id(t) in self._variables]
            variables = [self._variables[id(t)].read_value() for t in inputs if id(t) in self._variables]
            results = [(f"{name}: ", value) for name, value in zip(changed, variables)]
        if op_type.startswith("FusedBatchNorm"):  # its further outputs are not defined
            results = results[:1]
        if not all(_finite(result) for _, result in results):
            floating = [tensor for tensor in inputs if tensor.dtype.is_floating]
            self.found = Finding(
                op_type,
                self.phase,
                _where(tf.get_current_name_scope(), origin),
                "" if self.phase == GRADIENT else _line(),
                [name + described(result) for name, result in results if not _finite(result)],
                [described(tensor) for tensor in sorted(floating, key=_size, reverse=True)],
            )

    def _inherited(self, op_type, origin):
        if origin.rank == VARIABLE and op_type in ("ReadVariableOp", "Cast", "Identity"):
            return origin
        layer = origin.name.rpartition("/")[0] or origin.name if origin.rank == VARIABLE else origin.name
        return Origin(layer, INHERITED + (self.phase != FORWARD))

    def _remember(self, tensor, origin):
        self._origins[id(tensor)] = (tensor, origin)  # kept alive: an id may be given again


class Origin(NamedTuple):
    """What a tensor comes from: the path of a variable, or the layer behind which it lies; the least rank says most."""

    name: str
    rank: int


VARIABLE, INHERITED = 0, 1  # and one more for what a gradient inherits


def _where(scope, origin):
    """Returns "in dense1", "in dropout, behind dense1", "at dense1/w", "behind logits" or ""."""
    parts = [f"in {scope}"] if scope else []
    if origin and scope != origin.name:
        parts.append(f"{'at' if origin.rank == VARIABLE else 'behind'} {origin.name}")
    return ", ".join(parts)


def _finite(tensor):
    return not tensor.dtype.is_floating or bool(np.all(np.isfinite(_array(tensor))))


def _size(tensor):
    """Returns the largest magnitude of a tensor, infinity where it is not finite."""
    return float(np.max(np.abs(np.nan_to_num(_array(tensor), nan=np.inf)), initial=0))


def _array(tensor):
    return np.asarray(tensor if tensor.dtype in (tf.float32, tf.float64) else tf.cast(tensor, tf.float32))


def _line():
    """Returns "name.py:12 in focal_loss", of the innermost frame that is neither TensorFlow's nor this module's."""
    inside = (os.path.dirname(tf.__file__), __file__)
    frames = [frame for frame in traceback.extract_stack() if not frame.filename.startswith(inside)]
    return f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""


def described(tensor: Tensor) -> str:
    """Returns "float32 16x10, -3.2 to 88.9, 3 nan; largest 88.9 at [3, 7], 71 at [0, 2], ..." of a floating tensor."""
    array, (shape, dtype) = _array(tensor), tree.describe(tensor)
    finite = np.isfinite(array)
    kinds = {"nan": np.isnan(array), "inf": np.isposinf(array), "-inf": np.isneginf(array)}
    parts = [f"{dtype} {shape}"]
    if finite.any():
        low, high = array[finite].min(), array[finite].max()
        parts.append(f"{low:.6g} to {high:.6g}" if low < high else f"{low:.6g}")
    parts += [f"{np.count_nonzero(where):,} {name}" for name, where in kinds.items() if where.any()]
    sizes = np.where(finite, np.abs(array), -1).reshape(-1)
    largest = np.argsort(-sizes, kind="stable")[: min(SHOWN, np.count_nonzero(finite))]
    entries = []
    for flat in largest:
        position = [int(i) for i in np.unravel_index(flat, array.shape)]
        entries.append(f"{array.reshape(-1)[flat]:.6g} at {position}")
    return ", ".join(parts) + (f"; largest {', '.join(entries)}" if entries and array.ndim else "")
