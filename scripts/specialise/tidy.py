"""Shortens the functions of a program, which go on returning what they returned.

A program is {name: tree} of functions, classes and constants. What they call has no effect but on what it is given.
"""

import ast

from specialise.inline import (
    LONGEST,
    Put,
    drop_unread_arguments,
    expression_of,
    lift,
    put_in_place,
    take_over,
)  # fmt: skip
from specialise.syntax import body_of, of_pairs, pairs_of, reads, stored


def tidied(trees, main):
    """Returns the parts that the function called `main` needs, shortened until nothing changes."""
    before = None
    while before != (now := {name: ast.unparse(tree) for name, tree in trees.items()}):
        before, trees = now, needed(trees, main)
        trees = {name: Shorter().visit(tree) for name, tree in trees.items()}
        drop_unread_arguments(trees, main)
        take_over(trees)
        put_in_place(trees, main)
        lift(trees)
    return trees


def needed(trees, main):
    """Returns the parts that `main` reads, and those that they read, in the order in which they are."""
    found, left = set(), [main]
    while left:
        name = left.pop()
        found.add(name)
        left += {n.id for n in reads(trees[name])} & set(trees) - found
    return {name: tree for name, tree in trees.items() if name in found}


class Shorter(ast.NodeTransformer):
    """Says in fewer words what a function says."""

    def visit_FunctionDef(self, node):
        self.generic_visit(node)
        drop_second_names(node)
        forget(node)
        drop_overwritten(node)
        drop_last_name(node)
        expression = expression_of(node)
        if expression is not None and len(body_of(node)) > 1 and len(ast.unparse(expression)) <= LONGEST:
            node.body[-len(body_of(node)) :] = [ast.Return(expression)]
        return node

    def visit_Call(self, node):
        """Calls a lambda; takes the least of two that are one, and what is identical."""
        self.generic_visit(node)
        if ast.unparse(node.func) == "tf.identity":
            return node.args[0]
        if isinstance(node.func, ast.Lambda):
            return Put(dict(zip([a.arg for a in node.func.args.args], node.args))).visit(node.func.body)
        same = isinstance(node.func, ast.Name) and node.func.id == "min" and len(node.args) == 2
        return node.args[0] if same and ast.dump(node.args[0]) == ast.dump(node.args[1]) else node

    def visit_Subscript(self, node):
        """Takes an entry of a tuple or list that is written here."""
        self.generic_visit(node)
        if isinstance(node.value, ast.Tuple | ast.List) and isinstance(node.slice, ast.Constant):
            return node.value.elts[node.slice.value]
        if isinstance(node.value, ast.Dict):
            found = [v for k, v in zip(node.value.keys, node.value.values) if k and ast.dump(k) == ast.dump(node.slice)]
            return found[0] if found else node
        return node

    def visit_BinOp(self, node):
        """Adds and takes away no zero, multiplies or divides not by one; takes away what is added with a minus."""
        self.generic_visit(node)
        if isinstance(node.op, ast.Add) and isinstance(node.right, ast.UnaryOp) and isinstance(node.right.op, ast.USub):
            node.op, node.right = ast.Sub(), node.right.operand
        if isinstance(node.op, ast.Mult | ast.FloorDiv) and getattr(node.right, "value", None) == 1:
            return node.left
        zero = [isinstance(side, ast.Constant) and side.value == 0 for side in (node.left, node.right)]
        if isinstance(node.op, ast.Add | ast.Sub) and zero[1]:
            return node.left
        return node.right if isinstance(node.op, ast.Add) and zero[0] else node

    def visit_For(self, node):
        """Goes through one thing in place of two, where only the second is read."""
        self.generic_visit(node)
        both = isinstance(node.target, ast.Tuple) and len(node.target.elts) == 2 and isinstance(node.iter, ast.Call)
        if both and isinstance(node.iter.func, ast.Name) and node.iter.func.id == "zip" and len(node.iter.args) == 2:
            first, second = node.target.elts
            if ast.unparse(first) not in {n.id for part in node.body for n in reads(part)}:
                node.target, node.iter = second, node.iter.args[1]
        return node


def drop_second_names(tree):
    """Reads a variable itself where another is only its second name."""
    times = stored(tree)
    for target, value in [pair for n in ast.walk(tree) if isinstance(n, ast.Assign) for pair in pairs_of(n)]:
        names = [getattr(node, "id", None) for node in (target, value)]
        if None not in names and names[0] != names[1] and times.count(names[0]) == 1 >= times.count(names[1]):
            Put({names[0]: value}).visit(tree)


def drop_overwritten(tree):
    """Drops what a function assigns to a variable that it assigns again before it reads it."""
    for i, node in enumerate(tree.body):
        name = getattr(node.targets[0], "id", None) if isinstance(node, ast.Assign) else None
        for after in tree.body[i + 1 :] if name else ():
            if name in {n.id for n in reads(after)}:
                break
            if isinstance(after, ast.Assign) and getattr(after.targets[0], "id", None) == name:
                tree.body.remove(node)
                return


def drop_last_name(tree):
    """Returns an expression where it was given a name before."""
    *_, last, end = [None, *tree.body]
    if (
        isinstance(last, ast.Assign)
        and isinstance(end, ast.Return)
        and ast.dump(end) == ast.dump(as_return(last.targets))
    ):
        tree.body[-2:] = [ast.Return(last.value)]


def as_return(targets):
    """Returns the statement that returns the only variable that is assigned."""
    name = getattr(targets[0], "id", None) if len(targets) == 1 else None
    return ast.Return(ast.Name(name, ast.Load()) if name else None)


def forget(tree):
    """Drops assignments of names that nothing reads any more, and loops and branches in which nothing is left."""
    Drop({n.id for n in reads(tree)}).visit(tree)


class Drop(ast.NodeTransformer):
    """Drops what has no effect where only the names `read` are read."""

    def __init__(self, read):
        self.read = read

    def visit_Assign(self, node):
        if len(node.targets) > 1:
            node.targets = [t for t in node.targets if not isinstance(t, ast.Name) or t.id in self.read] or node.targets
            return node
        return of_pairs(node, [p for p in pairs_of(node) if self.is_needed(*p)])

    def is_needed(self, target, value):
        """True for an assignment that is read, or that is none of names, or that takes the result of a call apart."""
        names = target.elts if isinstance(target, ast.Tuple) else [target]
        if not all(isinstance(name, ast.Name) for name in names):
            return True
        calls = isinstance(target, ast.Tuple) and any(isinstance(n, ast.Call) for n in ast.walk(value))
        same = ast.unparse(target) == ast.unparse(value)
        return not same and (calls or any(name.id in self.read for name in names))

    def visit_FunctionDef(self, node):
        self.generic_visit(node)
        return node if not node.col_offset or node.name in self.read else None

    def visit_AugAssign(self, node):
        return node if ast.unparse(node.target) in self.read or not isinstance(node.target, ast.Name) else None

    def visit_For(self, node):
        self.generic_visit(node)
        return node if node.body else None

    def visit_If(self, node):
        self.generic_visit(node)
        if node.body and not isinstance(node.body[0], ast.Pass):
            return node
        if not node.orelse:
            return None
        node.test, node.body, node.orelse = ast.UnaryOp(ast.Not(), node.test), node.orelse, []
        return node
