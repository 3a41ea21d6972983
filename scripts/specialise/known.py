"""What is known of a function before the program runs: the values of names, expressions and conditions in it."""

import ast
import builtins
import copy
import inspect
import itertools
import math

from specialise.syntax import changed_in, parsed, stored
from tfcore.quiet import tf

DYNAMIC = object()  # an argument, or an expression, that is not known before the program runs
LITERALS = (bool, int, float, str, type(None))
LONGEST = 300  # of a value that is written out
PURE = {
    len,
    range,
    isinstance,
    min,
    max,
    sum,
    tuple,
    list,
    sorted,
    int,
    float,
    any,
    all,
    enumerate,
    callable,
    zip,
    bool,
}
PURE |= {bool, math.prod, itertools.pairwise, tf.as_dtype}


def is_literal(value):
    """True for what can be written as it is: a number, a text, or a short collection of such."""
    if isinstance(value, tuple | list):
        return all(is_literal(item) for item in value) and len(repr(value)) < LONGEST
    return isinstance(value, LITERALS)


def is_switch(value):
    """True for an argument's value that makes the argument needless: off, a name, or what is no literal."""
    off = value is None or isinstance(value, bool | str) or (type(value) is float and not value)
    return off or not is_literal(value)


def is_lambda(value):
    """True for a function without a name."""
    return getattr(value, "__name__", "") == "<lambda>"


def arguments_of(function):
    """Returns {argument: its default, or DYNAMIC}."""
    empty = inspect.Parameter.empty
    parameters = inspect.signature(function).parameters.values()
    return {p.name: DYNAMIC if p.default is empty else p.default for p in parameters}


class Known:
    """The values that are known in one function. env: {local name: value}, local: all its local names."""

    def __init__(self, pure, names, local=()):
        self.pure, self.globals, self.local, self.env = PURE | set(pure), names, set(local), {}

    def truth(self, node):
        """Returns whether a condition holds; DYNAMIC where that is not known."""
        if isinstance(node, ast.BoolOp):
            found = [self.truth(operand) for operand in node.values]
            decides = isinstance(node.op, ast.Or)
            if any(truth is decides for truth in found):
                return decides
            return DYNAMIC if DYNAMIC in found else not decides
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            truth = self.truth(node.operand)
            return truth if truth is DYNAMIC else not truth
        value = self.evaluate(node)
        return value if value is DYNAMIC else bool(value)

    def evaluate(self, node):
        """Returns the value of an expression that is known before the program runs, else DYNAMIC."""
        while isinstance(node, ast.IfExp) and (truth := self.truth(node.test)) is not DYNAMIC:
            node = node.body if truth else node.orelse
        if not self.can_evaluate(node):
            return DYNAMIC
        code = compile(ast.fix_missing_locations(ast.Expression(copy.deepcopy(node))), "", "eval")
        try:
            return eval(code, {"__builtins__": builtins, **self.globals, **self.env})
        except Exception:
            return DYNAMIC

    def can_evaluate(self, node):
        """True where all names in an expression are known and all calls in it have no effect."""
        inner = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        for part in ast.walk(node):
            if isinstance(part, ast.Lambda | ast.NamedExpr | ast.Await | ast.Yield):
                return False
            if isinstance(part, ast.Name) and part.id not in inner and self.lookup(part.id) is DYNAMIC:
                return False
            if isinstance(part, ast.Call) and not self.is_pure(part, inner):
                return False
        return True

    def lookup(self, name):
        """Returns the value of a name, else DYNAMIC."""
        if name in self.env or name in self.local:
            return self.env.get(name, DYNAMIC)
        return self.globals.get(name, getattr(builtins, name, DYNAMIC))

    def is_pure(self, node, inner):
        """True for a call that may be made now: of a function without effects, or of a text's or a tuple's method."""
        if any(isinstance(n, ast.Name) and n.id in inner for n in ast.walk(node.func)):
            return False
        function = self.evaluate(node.func)
        owner = type(getattr(function, "__self__", None))
        return (getattr(function, "__hash__", None) and function in self.pure) or owner in (str, tuple, list, dict)

    def learn(self, tree):
        """Notes the local names of a function that are bound once, to something known."""
        names, changed = stored(tree), changed_in(tree)
        for name, value in self.bindings(tree).items():
            changes = isinstance(value, list | dict | set) and name in changed
            if names.count(name) == 1 and name not in self.env and not changes and not is_lambda(value):
                self.env[name] = value

    def bindings(self, tree):
        """Returns {name: value} of the assignments of something known, and of loops whose variable never varies."""
        found = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and len(node.targets) == 1:
                found.update(self.assigned(node.targets[0], node.value))
            elif isinstance(node, ast.For) and isinstance(node.target, ast.Tuple):
                for target, column in zip(node.target.elts, zip(*self.rows(node.iter))):
                    if isinstance(target, ast.Name) and all(value == column[0] for value in column):
                        found[target.id] = column[0]
        return found

    def assigned(self, target, value):
        """Returns {name: value} of an assignment of something known."""
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            return {n: v for t, e in zip(target.elts, value.elts) for n, v in self.assigned(t, e).items()}
        known = self.evaluate(value)
        if isinstance(target, ast.Name) and known is not DYNAMIC:
            return {target.id: known}
        if isinstance(target, ast.Tuple) and isinstance(known, tuple) and len(known) == len(target.elts):
            return {t.id: v for t, v in zip(target.elts, known) if isinstance(t, ast.Name)}
        return {}

    def items(self, node):
        """Returns what a loop goes through, where that is known and can be written; else nothing."""
        value = self.evaluate(node)
        finite = isinstance(value, list | tuple | range) or hasattr(value, "__next__")
        items = list(value) if value is not DYNAMIC and finite else []
        return items if is_literal(items) else []

    def rows(self, node):
        """Returns the tuples that a loop goes through, as `items` does."""
        items = self.items(node)
        return items if all(isinstance(item, tuple) for item in items) else []


def as_tree(value):
    """Returns the expression of a value that can be written; None where it cannot."""
    if hasattr(value, "__next__"):
        value = list(value)
    if isinstance(value, tf.DType):
        return parsed(f"tf.{value.name}")
    if isinstance(value, float) and len(repr(value)) > 6 and 0 < value < 1 and 1 / round(1 / value) == value:
        return parsed(f"1 / {round(1 / value)}")
    return parsed(repr(value)) if is_literal(value) or isinstance(value, range) else None
