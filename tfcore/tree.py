"""Nested dictionaries of arrays: paths, selection, counting, assignment.

A tree is a dictionary whose values are trees or leaves (variables, tensors, arrays). A path joins keys with "/":
``{"conv1": {"w": a, "b": b}}`` has the paths ``conv1/w`` and ``conv1/b``. Order is the order of insertion.
"""

import hashlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tfcore.quiet import tf
from tfcore.types import Array, Tensor, Tree

MAX_DEPTH = 100  # of a path; a file's names may ask for more than Python's recursion can do


def flatten(tree: Tree, prefix: str = "") -> dict[str, Any]:
    """Returns {path: leaf}, in order of insertion. An empty dictionary has no paths."""
    flat = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            flat.update(flatten(value, path + "/"))
        else:
            flat[path] = value
    return flat


def unflatten(flat: dict[str, Any]) -> Tree:
    """Returns the tree whose paths are the keys of `flat`: the inverse of `flatten`.

    Raises:
      ValueError: a path has an empty part, more than MAX_DEPTH parts, or another path as its beginning.
    """
    tree: Tree = {}
    for path, leaf in flat.items():
        *parents, name = parts = path.split("/")
        if not all(parts) or len(parts) > MAX_DEPTH:
            raise ValueError(f"the path {path[:80]!r} has {'too many' if all(parts) else 'empty'} parts")
        node = tree
        for i, key in enumerate(parents, start=1):
            if "/".join(parts[:i]) in flat:
                raise ValueError(f"{'/'.join(parts[:i])} is a leaf, so there is no {path}")
            node = node.setdefault(key, {})
        node[name] = leaf
    return tree


def leaves(tree: Tree) -> list[Any]:
    """Returns the leaves as a list, in the order of `flatten`."""
    return list(flatten(tree).values())


def map(fn: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """Returns `tree` with each leaf replaced by fn(leaf, *leaves of the others at the same path)."""
    return {
        key: map(fn, value, *(other[key] for other in others))
        if isinstance(value, dict)
        else fn(value, *(other[key] for other in others))
        for key, value in tree.items()
    }


def select(tree: Tree, keep: Callable[[str], bool]) -> Tree:
    """Returns the sub-dictionary of leaves for which keep(path) is true; the leaves themselves are shared."""
    return unflatten({path: leaf for path, leaf in flatten(tree).items() if keep(path)})


def merge(tree: Tree, changes: Tree) -> Tree:
    """Returns `tree` with the leaves of `changes` in place of those at the same paths."""
    return unflatten({**flatten(tree), **flatten(changes)})


def to_vector(tree: Tree) -> Tensor:
    """Returns all leaves as one vector, [P], in the order of `flatten`. Differentiable; leaves are of one dtype."""
    return tf.concat([tf.reshape(leaf, [-1]) for leaf in leaves(tree)], axis=0)


def from_vector(vector: Array, like: Tree) -> Tree:
    """Returns the tree of the shapes of `like` whose leaves are the parts of a vector: the inverse of `to_vector`.

    Raises:
      ValueError: the vector has not as many entries as `like`.
    """
    vector, flat = tf.convert_to_tensor(vector), flatten(like)
    if vector.shape != [count(like)]:
        raise ValueError(f"a vector of shape {vector.shape.as_list()}, the tree has {count(like)} numbers")
    parts = tf.split(vector, [math.prod(leaf.shape) for leaf in flat.values()])
    return unflatten({path: tf.reshape(part, leaf.shape) for (path, leaf), part in zip(flat.items(), parts)})


def count(tree: Tree) -> int:
    """Returns the number of scalars in all leaves."""
    return sum(math.prod(leaf.shape) for leaf in leaves(tree))


def variables(tree: Tree, *, trainable: bool = False) -> Tree:
    """Returns new variables that hold a copy of each leaf."""
    return map(lambda leaf: tf.Variable(leaf, trainable=trainable), tree)


def zeros_like(tree: Tree) -> Tree:
    """Returns new variables of zeros in the structure, shapes and dtypes of `tree`."""
    return map(lambda leaf: tf.Variable(tf.zeros(leaf.shape, leaf.dtype), trainable=False), tree)


def mismatches(found: Tree, wanted: Tree, *, found_name: str = "file", wanted_name: str = "model") -> list[str]:
    """Returns one sentence per path that is missing, unexpected or of another shape or dtype; [] when all fit."""
    found, wanted = flatten(found), flatten(wanted)
    problems = [f"{path}: missing in the {found_name}" for path in wanted if path not in found]
    problems += [f"{path}: in the {found_name}, not in the {wanted_name}" for path in found if path not in wanted]
    for path in wanted:
        if path in found:
            has, wants = describe(found[path]), describe(wanted[path])
            problems += [f"{path}: {found_name} has {h}, {wanted_name} wants {w}" for h, w in zip(has, wants) if h != w]
    return problems


def describe(leaf: Array) -> tuple[str, str]:
    """Returns ("3x3x1x64", "float32"): the shape and dtype of an array, a tensor or a variable."""
    return "x".join(str(size) for size in leaf.shape) or "scalar", tf.as_dtype(leaf.dtype).name


def assign(variables: Tree, values: Tree) -> None:
    """Assigns each leaf of `values` to the variable at the same path.

    Raises:
      ValueError: the paths or shapes differ; nothing has been assigned then.
    """
    problems = mismatches(values, variables, found_name="new values", wanted_name="variables")
    if problems:
        raise ValueError("cannot assign: " + "; ".join(problems))
    values = flatten(values)
    for path, variable in flatten(variables).items():
        variable.assign(values[path])


def summary(tree: Tree) -> str:
    """Returns "6 arrays, 269,322 numbers": what to say of a tree in a line."""
    return f"{len(leaves(tree))} arrays, {count(tree):,} numbers"


def digest(tree: Tree) -> str:
    """Returns a hash of the paths and the bytes of a tree of arrays, in its order."""
    content = hashlib.sha256()
    for path, leaf in flatten(tree).items():
        content.update(path.encode())
        content.update(np.ascontiguousarray(leaf).data)
    return content.hexdigest()
