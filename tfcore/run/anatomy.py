"""What a network is made of: tables of its parameters, and graphs with its variables by name."""

import functools
import math
from collections.abc import Sequence
from typing import Any

from tfcore import training, tree
from tfcore.quiet import tf
from tfcore.run.plan import Plan
from tfcore.run.task import Task, loss_fn_of
from tfcore.showing import readable
from tfcore.training import TrainState
from tfcore.types import Function, Tree


def traced_forward(task: Task, state: TrainState, batch_size: int) -> Function:
    """Returns the concrete function of the forward pass on `batch_size` images as stored; it reads the variables."""
    images = task.splits.train.images
    forward = tf.function(lambda x: task.forward(state.weights, state.stats, x, training=False), autograph=False)
    return forward.get_concrete_function(tf.TensorSpec([batch_size, *images.shape[1:]], images.dtype))


def traced_step(task: Task, state: TrainState, plan: Plan) -> Function:
    """Returns the concrete function of one step of training on a batch of images as stored."""
    step = functools.partial(
        training.train_step, state, seed=plan.seed, loss_fn=loss_fn_of(task), optimizer=task.optimizer
    )
    batch = tuple(tf.TensorSpec([plan.batch_size, *a.shape[1:]], a.dtype) for a in task.splits.train)
    return tf.function(lambda *batch: step(batch), autograph=False).get_concrete_function(*batch)


def named_graph(concrete: Function, state: TrainState) -> tf.compat.v1.GraphDef:
    """Returns the GraphDef of a concrete function in which the variables of a state are called by their paths.

    Those of stats and slots begin with that word. What only keeps an order of execution is left out.
    """
    more = tree.flatten({"stats": state.stats, "slots": state.slots, "step": state.step})
    paths = {id(variable.handle): path for path, variable in {**tree.flatten(state.weights), **more}.items()}
    names = {inside.op.name: paths[id(outside)] for outside, inside in concrete.graph.captures if id(outside) in paths}
    graph, nodes = tf.compat.v1.GraphDef(), concrete.graph.as_graph_def().node
    graph.node.extend(node for node in nodes if node.op != "NoOp")
    for node in graph.node:
        node.name = names.get(node.name, node.name)
        node.input[:] = [names.get(source, source) for source in node.input if not source.startswith("^")]
    return graph


def flops(concrete: Function, batch_size: int) -> int:
    """Returns the floating point operations per image of a forward pass: its convolutions and matrix products.

    A multiplication and an addition count as two. concrete: traced for `batch_size` images.
    """
    total = 0
    for op in concrete.graph.get_operations():
        if op.type == "Conv2D":
            kernel, output = op.inputs[1].shape, op.outputs[0].shape
            total += 2 * math.prod(kernel) * math.prod(output[1:3])
        elif op.type == "MatMul":
            total += 2 * math.prod(op.inputs[0].shape) * op.outputs[0].shape[1] // batch_size
    return total


def parameter_rows(weights: Tree, stats: Tree) -> list[tuple[str, str, str, str]]:
    """Returns the table of all weights and stats: path, shape, count and bytes, below a head, the sums at the end."""
    leaves = {**tree.flatten(weights), **tree.flatten(stats)}
    counts = {path: math.prod(v.shape) for path, v in leaves.items()}
    rows = [(path, tree.describe(v)[0], counts[path], counts[path] * v.dtype.size) for path, v in leaves.items()]
    rows.append(("total", "", sum(row[2] for row in rows), sum(row[3] for row in rows)))
    return [("parameter", "shape", "count", "bytes"), *((p, s, f"{c:,}", f"{b:,}") for p, s, c, b in rows)]


def as_text(rows: Sequence[tuple[str, str, str, str]]) -> str:
    """Returns a table of four columns for a terminal; the last two are numbers."""
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join(f"{p:<{widths[0]}}  {s:<{widths[1]}}  {c:>{widths[2]}}  {b:>{widths[3]}}" for p, s, c, b in rows)


def as_markdown(rows: Sequence[tuple[Any, ...]]) -> str:
    """Returns a table in Markdown; its first row is the head."""
    cells = [[readable(str(cell)).replace("|", "&#124;") for cell in row] for row in rows]
    head, *body = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([head, "|" + "---|" * len(cells[0]), *body])
