"""Puts expressions in the place of names, and functions in the place of their calls, and back."""

import ast
import copy

from specialise.syntax import arguments, body_of, drop_arguments, reads, stored

LONGEST = 90  # characters of an expression that may stand in the place of its function's call
TINY = 30  # characters below which no function is worth its name
SHORTEST = 60  # characters below which a function without a docstring is not worth its name


class Put(ast.NodeTransformer):
    """Puts expressions in the place of names. values: {name: expression}."""

    def __init__(self, values):
        self.values = values

    def visit_Name(self, node):
        put = node.id in self.values and isinstance(node.ctx, ast.Load)
        return copy.deepcopy(self.values[node.id]) if put else node


def put(node, values):
    """Returns an expression with others in the place of names; None where that might change what it is worth.

    Only a name or a number may be written twice, or inside of a function that is called later.
    """
    again = [n for n in ast.walk(node) if isinstance(n, ast.Lambda | ast.ListComp | ast.GeneratorExp | ast.DictComp)]
    inside = {n.id for part in again for n in reads(part)}
    bound = set(stored(node))
    names = [n.id for n in reads(node)]
    for name, value in values.items():
        plain = isinstance(value, ast.Name | ast.Constant)
        free = {n.id for n in reads(value)}
        if name in bound or free & bound or (not plain and (names.count(name) > 1 or name in inside)):
            return None
    return Put(values).visit(copy.deepcopy(node))


def expression_of(tree):
    """Returns the one expression that a function returns, with its variables written out; None where it has none."""
    *first, last = body_of(tree)
    expression = last.value if isinstance(last, ast.Return) else None
    for statement in reversed(first):
        plain = isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
        if expression is None or not plain or len(statement.targets) > 1:
            return None
        expression = put(expression, {statement.targets[0].id: statement.value})
    return expression


# Functions


def functions_of(trees):
    """Returns [(name, tree)] of the functions."""
    return [(name, tree) for name, tree in trees.items() if isinstance(tree, ast.FunctionDef)]


def calls_of(trees, name):
    """Returns the calls of a function; None where it is also read otherwise."""
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    calls = [n for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == name]
    return calls if len(calls) == sum(isinstance(n, ast.Name) and n.id == name for n in nodes) else None


def drop_unread_arguments(trees, main):
    """Takes arguments that a function does not read off the function and its calls."""
    for name, tree in functions_of(trees):
        calls = calls_of(trees, name)
        read = {n.id for part in tree.body for n in reads(part)}
        unread = {x.arg for x in (*tree.args.args, *tree.args.kwonlyargs)} - read
        starred = any(isinstance(a, ast.Starred) for call in calls or () for a in call.args)
        if name != main and calls is not None and not starred and unread:
            order = [x.arg for x in tree.args.args]
            for call in calls:
                call.args = [value for i, value in enumerate(call.args) if i >= len(order) or order[i] not in unread]
                call.keywords = [k for k in call.keywords if k.arg not in unread]
            drop_arguments(tree, unread)


def take_over(trees):
    """Gives a function that only calls another with its own arguments the body of that, where no one else calls it."""
    for _, tree in functions_of(trees):
        call = expression_of(tree)
        inner = trees.get(getattr(getattr(call, "func", None), "id", None))
        if not isinstance(inner, ast.FunctionDef) or inner is tree or len(calls_of(trees, inner.name) or ()) != 1:
            continue
        names = [x.arg for x in arguments(inner)]
        passed = [*zip(names, call.args), *((k.arg, k.value) for k in call.keywords)]
        if len(passed) == len(names) and all(isinstance(v, ast.Name) and v.id == name for name, v in passed):
            tree.body[-len(body_of(tree)) :] = body_of(inner)
            trees[inner.name] = ast.Pass()


def put_in_place(trees, main):
    """Writes a short function that is called once where it is called; and one that returns an argument as it is."""
    for name, tree in functions_of(trees):
        calls = calls_of(trees, name)
        expression = expression_of(tree) if len(body_of(tree)) == 1 else None
        if name == main or calls is None or expression is None or tree.args.vararg or tree.decorator_list:
            continue
        length = len(ast.unparse(expression))
        tiny = length <= TINY or (ast.get_docstring(tree) is None and length <= SHORTEST)
        if tiny or (len(calls) == 1 and length <= LONGEST):
            for owner, other in trees.items():
                if owner != name and not free_names(tree) & set(stored(other)):
                    trees[owner] = InPlace(tree, expression).visit(other)


def lift(trees):
    """Makes a function of its own of one that another makes, where the other does nothing else.

    Of `slots_of, update = adam(0.1)` nothing is left: `adam` becomes `update`, with what it was given as options, and
    `slots_of` the lambda that it is.
    """
    for tree in list(trees.values()):
        for node in [n for n in ast.walk(tree) if isinstance(n, ast.Assign) and isinstance(n.value, ast.Call)]:
            maker = trees.get(getattr(node.value.func, "id", None))
            if not isinstance(maker, ast.FunctionDef) or not (made := made_by(maker)):
                continue
            values, once = InPlace(maker).values(node.value), len(calls_of(trees, maker.name) or ()) == 1
            if once and all(isinstance(value, ast.Constant) for value in values.values()):
                become(maker, values)
                names = [name.id for name in node.targets[0].elts]
                node.targets, node.value = [ast.Name("_", ast.Store())], ast.Constant(None)
                Put(dict(zip(names, made))).visit(tree)


def made_by(tree):
    """Returns what a function returns, as expressions, where that is the one function in it, and lambdas; else []."""
    body, own = body_of(tree), {x.arg for x in arguments(tree)}
    if len(body) != 2 or not isinstance(body[0], ast.FunctionDef) or not isinstance(body[1], ast.Return):
        return []
    made = body[1].value.elts if isinstance(body[1].value, ast.Tuple) else []
    apart = [isinstance(m, ast.Lambda) and not own & {n.id for n in reads(m)} for m in made]
    named = [isinstance(m, ast.Name) and m.id == body[0].name for m in made]
    if not all(a or n for a, n in zip(apart, named)):
        return []
    return [ast.Name(tree.name, ast.Load()) if n else m for m, n in zip(made, named)]


def become(tree, values):
    """Turns a function that makes another into that, under its own name. values: {argument: what it was given}."""
    inner, own = body_of(tree)[0], arguments(tree)
    tree.body[-2:] = inner.body
    tree.args = inner.args
    tree.args.kwonlyargs += own
    tree.args.kw_defaults += [values[x.arg] for x in own]


def free_names(tree):
    """Returns the names that a function reads and does not bind."""
    return {n.id for n in reads(tree)} - set(stored(tree))


class InPlace(ast.NodeTransformer):
    """Writes the expression that a function returns in place of its calls."""

    def __init__(self, function, expression=None):
        self.function, self.expression = function, expression

    def visit_Call(self, node):
        self.generic_visit(node)
        if not isinstance(node.func, ast.Name) or node.func.id != self.function.name:
            return node
        if any(isinstance(a, ast.Starred) for a in node.args) or any(k.arg is None for k in node.keywords):
            return node
        return put(self.expression, self.values(node)) or node

    def values(self, call):
        """Returns {argument: expression} of a call."""
        a = self.function.args
        values = dict(zip([x.arg for x in a.args[len(a.args) - len(a.defaults) :]], a.defaults))
        values |= {x.arg: d for x, d in zip(a.kwonlyargs, a.kw_defaults) if d is not None}
        return values | dict(zip([x.arg for x in a.args], call.args)) | {k.arg: k.value for k in call.keywords}
