"""Checks of functions: is the gradient right, and is a forward pass a function of its arguments and nothing else?"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tfcore import tree
from tfcore.check.finding import Finding, finding
from tfcore.gradients import value_and_gradient
from tfcore.quiet import tf
from tfcore.types import Array, Forward, Structure, Tensor, Tree


@finding("gradient")
def gradient(
    f: Callable[[Any], Tensor],
    at: Structure,
    *,
    entries: int | None = 20,
    step: float = 1e-6,
    tolerance: float = 1e-4,
    seed: int = 0,
) -> tuple[bool, str]:
    """Compares the gradient of f with central finite differences (f(x + step) - f(x - step)) / (2 step), in float64.

    An entry is wrong where it is off by more than `tolerance` of its size, sizes below a thousandth of f (or of 1)
    taken as that, and with steps of a tenth and a hundredth too. At a kink, such as relu's at 0, differences are half
    of each side: choose `at` away from it.

    Args:
      f: (at) -> a tensor; one that is no scalar is multiplied with random numbers and summed. In a `tf.function` it is
        quicker, for f is called twice for each entry.
      at: a tree of floating arrays, such as {"weights": weights, "x": x}, or one array, which is then called x.
      entries: how many of each leaf are looked at, drawn by `seed`; None for all.
    Returns: a `Finding`, with the path and index of the worst entry.
    """
    if not isinstance(at, dict):
        f, at = _of_one(f), {"x": at}
    arrays = {path: np.asarray(leaf).astype(np.float64) for path, leaf in tree.flatten(at).items()}
    rng = np.random.default_rng(seed)

    def tensors():
        return tree.unflatten({path: tf.constant(array) for path, array in arrays.items()})

    y = f(tensors())
    if y.dtype != tf.float64:
        return False, f"of float64 arguments f makes {y.dtype.name}: differences say nothing after such rounding"
    direction = rng.normal(size=y.shape) if y.shape.rank else 1.0

    def scalar(at):
        return tf.reduce_sum(f(at) * direction)

    found, grads = value_and_gradient(scalar, tensors())
    least, rows = 1e-3 * max(1.0, abs(float(found))), []
    for path, g in tree.flatten(grads).items():
        g = np.asarray(tf.convert_to_tensor(g))
        for flat in np.sort(rng.permutation(g.size)[:entries]):
            index = tuple(map(int, np.unravel_index(flat, g.shape)))
            for size in (step, step / 10, step / 100):  # a kink near by is not met by a smaller one
                wanted = _difference(lambda: scalar(tensors()).numpy(), arrays[path], index, size)
                error = abs(g[index] - wanted) / max(abs(g[index]), abs(wanted), least)
                if error <= tolerance:
                    break
            rows.append((error if np.isfinite(error) else np.inf, path, list(index), g[index], wanted))
    return _worst(rows, tolerance)


def _of_one(f):
    return lambda at: f(at["x"])


def _difference(value, array, index, step):
    """The slope of value() in one entry of `array`, which is changed in place and put back."""
    kept = array[index]
    array[index] = kept + step
    above = value()
    array[index] = kept - step
    below = value()
    array[index] = kept
    return (above - below) / (2 * step)


def _worst(rows, tolerance):
    """Returns (good, text) of rows (error, path, index, gradient, finite difference)."""
    if not rows:
        return False, "there is nothing to look at"
    error, path, index, found, wanted = max(rows, key=lambda row: row[0])
    wrong = sum(row[0] > tolerance for row in rows)
    if wrong:
        return False, f"{path}{index} is {found:.6g}, finite differences say {wanted:.6g}; " \
                      f"{wrong:,} of the {len(rows):,} entries looked at are wrong, this one most"  # fmt: skip
    return True, f"{len(rows):,} entries equal finite differences; the worst, {path}{index}, is {error:.1e} off"


def forward(
    forward: Forward, weights: Tree, stats: Tree, x: Array, *, training: bool = True, jit: bool = True
) -> list[Finding]:
    """Looks whether a forward pass is what this library takes it for: a function of its arguments.

    It is called as forward(weights, stats, x, training=training), without a seed, so dropout is off.

    Args:
      forward: (weights, stats, x, *, training, seed=None) -> logits, new_stats.
      weights, stats: as its `init` returns them.
      x: an array of two examples or so. Where it is floating, bfloat16 is tried too.
      jit: also compile with XLA, which takes a minute for a large network.
    Returns: a list of findings: what it returns, reads, changes, takes, compiles to, and does in bfloat16.
    """

    def call(*args):  # arrays and dictionaries of its own, for a forward pass that changes what it is given
        logits, new_stats = forward(*tf.nest.map_structure(_copied, args), training=training)
        return {"logits": logits, "stats": new_stats}

    args = tf.nest.map_structure(lambda leaf: np.asarray(leaf).copy(), (weights, stats, x))
    result = _result(call, args)
    if not result:  # nothing else can be asked
        return [result]
    found = [result, _reads(call, args), _changes(call, args, forward, training), _alike(call, args)]
    found += [_compiles(call, args, way) for way in ((None, True) if jit else (None,))]
    return [*found, _half(call, args)] if tf.as_dtype(args[2].dtype).is_floating else found


def _copied(leaf):
    return leaf.copy() if isinstance(leaf, np.ndarray) else leaf


@finding("returns")
def _result(call, args):
    y = call(*args)
    problems = tree.mismatches(y["stats"], args[1], found_name="new stats", wanted_name="stats")
    if problems:
        return False, "; ".join(problems)
    if y["logits"].shape[:1] != args[2].shape[:1]:
        return False, f"logits of shape {list(y['logits'].shape)} for {len(args[2])} examples"
    if bad := [path for path, leaf in tree.flatten(y).items() if not np.isfinite(leaf).all()]:
        return False, f"{', '.join(bad)}: not finite"
    return True, f"logits {list(y['logits'].shape)} {y['logits'].dtype.name}, and stats like those it is given"


DRAWS = ("RandomUniform", "RandomStandardNormal", "TruncatedNormal", "RandomShuffle", "RandomUniformInt", "Multinomial")


@finding("reads only its arguments")
def _reads(call, args):
    graph, kinds = _traced(call, args)
    variables = [f"the variable {v.name.split(':')[0]} {list(v.shape)}" for v in graph.variables]
    global_draws = [f"{kind}, of TensorFlow's global generator" for kind in DRAWS if kind in kinds]
    if variables or global_draws:
        return False, f"it reads {', '.join(variables + global_draws)}: make it an argument"
    first, second = call(*args), call(*args)
    if changed := _unlike(first, second, exact=True):
        return False, f"two calls with the same arguments differ in {changed}"
    return True, "no variable and no generator from outside; two calls give the same bits"


def _traced(call, args):
    """Returns the graph of a call with tensors, and the kinds of all its operations, those of functions inside too."""
    specs = tf.nest.map_structure(lambda leaf: tf.TensorSpec(leaf.shape, leaf.dtype), args)
    graph = tf.function(call, autograph=False).get_concrete_function(*specs).graph
    definition = graph.as_graph_def()
    parts = [definition.node, *(function.node_def for function in definition.library.function)]
    return graph, {node.op for part in parts for node in part}


@finding("changes nothing")
def _changes(call, args, forward, training):
    (weights, stats), x = (tree.variables(part) for part in args[:2]), args[2].copy()
    kept = tree.flatten({"weights": weights, "stats": stats})
    forward(weights, stats, x, training=training)
    after = tree.flatten({"weights": weights, "stats": stats})
    if other := [path for path in {**kept, **after} if kept.get(path) is not after.get(path)]:
        return False, f"{', '.join(other)}: put into, taken from or replaced in the dictionaries it was given"
    before = tree.flatten({"weights": args[0], "stats": args[1]})
    changed = [path for path, leaf in kept.items() if leaf.numpy().tobytes() != before[path].tobytes()]
    changed += ["x"] if x.tobytes() != args[2].tobytes() else []
    if changed:
        return False, f"it assigns {', '.join(changed)}: return new values instead"
    if assigns := sorted(kind for kind in _traced(call, args)[1] if kind.startswith("Assign")):
        return False, f"it assigns to a variable from outside ({', '.join(assigns)})"
    return True, "arguments and dictionaries are as they were, and nothing is assigned"


@finding("variables, tensors, arrays")
def _alike(call, args):
    wanted = call(*args)
    for kind in (tf.constant, tf.Variable):
        changed = _unlike(call(*(tf.nest.map_structure(kind, part) for part in args)), wanted, exact=True)
        if changed:
            return False, f"{changed} differs when all arguments are a {kind.__name__}"
    return True, "the same bits of all three"


def _compiles(call, args, jit):
    @finding("compiles with XLA" if jit else "compiles")
    def look():
        compiled = tf.function(call, jit_compile=jit, autograph=False)
        changed = _unlike(compiled(*tf.nest.map_structure(tf.constant, args)), call(*args))
        return (False, f"{changed} differs from the eager call") if changed else (True, "as the eager call")

    return look()


@finding("bfloat16")
def _half(call, args):
    weights, x = tf.nest.map_structure(lambda leaf: tf.cast(leaf, tf.bfloat16), (args[0], args[2]))
    found = call(weights, args[1], x)["logits"]
    rounded = tf.nest.map_structure(lambda leaf: tf.cast(leaf, tf.float32), (weights, args[1], x))
    wanted = call(*rounded)["logits"].numpy()
    error = np.abs(tf.cast(found, tf.float32).numpy() - wanted).max() / np.abs(wanted).max()
    return bool(error < 0.1), f"logits are {found.dtype.name}, and off by {error:.1%} of the largest"


def _unlike(found, wanted, *, exact=False):
    """Returns the paths at which two results differ, as words; "" where none do."""
    differing = []
    for path, w in tree.flatten(wanted).items():
        a, b = (np.asarray(tf.convert_to_tensor(leaf)) for leaf in (tree.flatten(found)[path], w))
        near = a.tobytes() == b.tobytes() if exact else np.abs(a - b).max(initial=0) <= 1e-3 * np.abs(b).max(initial=0)
        differing += [] if near else [path]
    return ", ".join(differing)
