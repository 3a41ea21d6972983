"""Syntax trees of functions: where they come from, which names are in them, and how to change a few things in one."""

import ast
import copy
import functools
import inspect
import sys
import textwrap

# Source


@functools.cache
def source_of(value):
    """Returns the text of a function, a class or a module, moved to the left margin."""
    return textwrap.dedent(inspect.getsource(value))


def tree_of(value):
    """Returns the syntax tree of a function or class."""
    return ast.parse(source_of(value)).body[0]


def parsed(text):
    """Returns the syntax tree of an expression."""
    return ast.parse(text, mode="eval").body


def hexadecimals(owner):
    """Returns {(line, column): text} of the numbers that are written in hexadecimal, to be written so again."""
    numbers = [n for n in ast.walk(tree_of(owner)) if isinstance(n, ast.Constant) and isinstance(n.value, int)]
    texts = {(n.lineno, n.col_offset): ast.get_source_segment(source_of(owner), n) for n in numbers}
    return {place: text for place, text in texts.items() if text.startswith("0x")}


@functools.cache
def reassigned(function):
    """Returns the names that a function assigns: what was known of such an argument is not known behind that."""
    return {n.id for n in ast.walk(tree_of(function)) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def origin(module, name):
    """Returns the module in which a constant is made, and its name there, behind `from … import … as`."""
    for node in ast.parse(source_of(module)).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name and node.module in sys.modules:
                    return origin(sys.modules[node.module], alias.name)
    return module, name


def constant_of(module, name):
    """Returns the expression that a module's constant is made of; None where there is none."""
    for node in ast.parse(source_of(module)).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(t, ast.Name) and t.id == name for t in targets):
            return node.value
    return None


# Names


def arguments(tree):
    """Returns the nodes of all arguments of a function."""
    a = tree.args
    return [*a.posonlyargs, *a.args, *a.kwonlyargs, *([a.vararg] if a.vararg else []), *([a.kwarg] if a.kwarg else [])]


def stored(tree):
    """Returns the names that are bound in a function, one for each time: arguments, variables, functions inside."""
    names = [n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)]
    names += [n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return names + [n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n is not tree]


def reads(tree):
    """Returns the nodes of a tree that read a name."""
    return [n for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]


def changed_in(tree):
    """Returns the names of what may change under its name: by a method, an entry, or a function that gets it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) or (isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load)):
            found.add(getattr(node.value, "id", None))
        elif isinstance(node, ast.AugAssign | ast.Return | ast.Dict | ast.Tuple | ast.List):
            found |= {n.id for n in ast.iter_child_nodes(node) if isinstance(n, ast.Name)}
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") not in ("zip", "len", "enumerate"):
            found |= {n.id for n in node.args if isinstance(n, ast.Name)}
    return found


def body_of(tree):
    """Returns the statements of a function behind its docstring."""
    return tree.body[1:] if ast.get_docstring(tree) is not None else tree.body


# Changes


def pairs_of(node):
    """Returns (target, value) of each name that an assignment binds to an expression of its own."""
    target, value = node.targets[0], node.value
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        return list(zip(target.elts, value.elts))
    return [(target, value)]


def of_pairs(node, pairs):
    """Returns the assignment of such pairs in place of those of `node`; None where there are none."""
    if len(pairs) == len(pairs_of(node)) or not pairs:
        return node if pairs else None
    targets, values = map(list, zip(*pairs))
    one = len(pairs) == 1
    node.targets = [targets[0] if one else ast.Tuple(targets, ast.Store())]
    node.value = values[0] if one else ast.Tuple(values, ast.Load())
    return node


def drop_arguments(tree, names):
    """Takes arguments off a function."""
    a = tree.args
    defaults = [None] * (len(a.args) - len(a.defaults)) + a.defaults
    kept = [(x, d) for x, d in zip(a.args, defaults) if x.arg not in names]
    a.args, a.defaults = [x for x, _ in kept], [d for _, d in kept if d is not None]
    kept = [(x, d) for x, d in zip(a.kwonlyargs, a.kw_defaults) if x.arg not in names]
    a.kwonlyargs, a.kw_defaults = [x for x, _ in kept], [d for _, d in kept]


def strip_annotations(tree):
    """Takes the annotations off a function's arguments and its result."""
    for argument in arguments(tree):
        argument.annotation = None
    tree.returns = None


def is_scope(tree):
    """True where a function takes a name for the scope of its operations and nothing else."""
    inside = [ast.unparse(n.context_expr) for n in ast.walk(tree) if isinstance(n, ast.withitem)]
    return "tf.name_scope(name)" in inside and [n.id for n in reads(tree)].count("name") == 1


def without(node, function, gone):
    """Returns a call without the arguments that the function is written out without."""
    names = list(inspect.signature(function).parameters)
    gone = set(gone) | ({"name"} if is_scope(tree_of(function)) else set())
    last = len(names) - 1
    node.args = [a for i, a in enumerate(node.args) if isinstance(a, ast.Starred) or names[min(i, last)] not in gone]
    node.keywords = [k for k in node.keywords if k.arg not in gone]
    return node


class _Replace(ast.NodeTransformer):
    """Puts expressions in the place of others, {text: expression}; `found` are the texts that were there."""

    def __init__(self, table):
        self.table, self.found = table, set()

    def visit(self, node):
        text = ast.unparse(node) if isinstance(node, ast.expr) else ""
        if text in self.table:
            self.found.add(text)
            return copy.deepcopy(self.table[text])
        return super().visit(node)


def replaced(tree, table):
    """Returns a function with expressions in the place of others. table: {text: text}.

    Raises:
      ValueError: it has no such expression.
    """
    worker = _Replace({ast.unparse(parsed(old)): parsed(new) for old, new in table.items()})
    tree = worker.visit(tree)
    if missing := set(worker.table) - worker.found:
        raise ValueError(f"{tree.name} has no {', '.join(sorted(missing))}")
    return tree
