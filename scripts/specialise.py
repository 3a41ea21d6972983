"""Writes a function out for known arguments, with all functions of tfcore that it calls, as one plain program.

What depends on known values alone is computed now: a configuration becomes the numbers in it, an `if` the branch that
is taken, a table of functions the one that is looked up. Checks, and name scopes, are left out. An argument that has
one value in all calls is left out too where it is a switch that is off, a name, or no number at all.

It is constant propagation through calls (Wegman & Zadeck 1991), until nothing changes, on Python's syntax trees.
"""

import ast
import builtins
import copy
import inspect
import itertools
import math
import sys
import textwrap
import types

DYNAMIC = object()  # an argument, or an expression, that is not known before the program runs
CHECKS = ("_check", "check_", "settings.")  # calls that begin so only raise
IDENTITIES = ("checked", "connected", "all_reduce")  # calls that return their first argument, on one device
PURE = {len, range, isinstance, min, max, sum, tuple, list, sorted, int, float, any, all, enumerate, math.prod}
PURE |= {itertools.pairwise}
LITERALS = (bool, int, float, str, type(None))
LONGEST = 300  # of a value that is written out


def is_literal(value):
    """True for what can be written as it is: a number, a text, or a short collection of such."""
    if isinstance(value, tuple | list):
        return all(is_literal(item) for item in value) and len(repr(value)) < LONGEST
    return isinstance(value, LITERALS)


def is_switch(value):
    """True for an argument's value that makes the argument needless: off, a name, or what is no literal."""
    return (
        not is_literal(value) or value is None or isinstance(value, bool | str) or (type(value) is float and not value)
    )


def is_lambda(value):
    return getattr(value, "__name__", "") == "<lambda>"


class Program:
    """The functions that are reached from `main`, each with what is known of its arguments."""

    def __init__(self, package, pure):
        self.package, self.pure = package, PURE | set(pure)
        self.known = {}  # of each function: {argument: value or DYNAMIC}
        self.done = {}  # of each function or class: its tree
        self.constants, self.imports, self.uses = {}, set(), {}
        self.identities = set()

    def owns(self, value):
        """True for a function or class of the package, or of the program's own module."""
        is_code = isinstance(value, types.FunctionType | type) and value.__name__ != "<lambda>"
        return is_code and (getattr(value, "__module__", "") or "").split(".")[0] in self.package

    def run(self, main, **known):
        """Follows all calls from main(**known) until nothing changes; returns the text of the program's parts."""
        self.join(main, known)
        while True:
            before = [dict(k) for k in self.known.values()], set(self.identities)
            self.done, self.constants, self.imports, self.uses = {}, {}, set(), {}
            self.reach(main)
            if before == ([dict(k) for k in self.known.values()], self.identities):
                return

    def reach(self, value):
        """Specialises a function, or copies a class, once."""
        if value in self.done:
            return
        self.done[value] = None
        self.uses[value] = set()
        tree = ast.parse(textwrap.dedent(inspect.getsource(value))).body[0]
        worker = Specialiser(self, value)
        self.done[value] = worker.function(tree) if isinstance(tree, ast.FunctionDef) else worker.of_class(tree)

    def join(self, function, values):
        """Notes the arguments of a call; what differs from those of another call is not known any more."""
        known = self.known.setdefault(function, {})
        for name, value in values.items():
            value = value if self.can_be_known(value) else DYNAMIC
            before = known.setdefault(name, value)
            same = before is value or (type(before) is type(value) and before == value)
            known[name] = value if same else DYNAMIC

    def can_be_known(self, value):
        """True for a literal, a configuration, and a function or module of the package, which has a name here."""
        if isinstance(value, list | dict) or is_lambda(value):
            return False
        ours = (getattr(value, "__module__", None) or type(value).__module__).split(".")[0] in self.package
        return is_literal(value) or ours or isinstance(value, types.ModuleType)

    def static(self, function):
        """Returns {argument: value} of the arguments that a function is written out without."""
        return {n: v for n, v in self.known.get(function, {}).items() if v is not DYNAMIC and is_switch(v)}


class Specialiser(ast.NodeTransformer):
    """Rewrites one function for what is known of its arguments."""

    def __init__(self, program, owner):
        self.program, self.owner = program, owner
        self.globals = vars(sys.modules[owner.__module__])
        self.env, self.local, self.source = {}, set(), {}

    def function(self, tree):
        """Returns the function without its known arguments, and with what follows from them."""
        known = self.program.static(self.owner)
        self.env = dict(known)
        self.scan(tree)
        self.source = hexadecimals(self.owner, tree)
        self.strip_arguments(tree, known)
        for _ in range(4):  # a branch that goes may leave a name with one value
            self.learn(tree)
            tree.body = self.block(tree.body)
            self.forget(tree)
        tree.name = f"__{id(self.owner)}__"
        self.program.uses[self.owner] |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} & self.local
        self.program.locals_of = self.local
        if self.is_identity(tree):
            self.program.identities.add(self.owner)
        return tree

    def of_class(self, tree):
        """Returns a class without its methods."""
        tree.body = [s for s in tree.body if not isinstance(s, ast.FunctionDef)]
        tree.name = f"__{id(self.owner)}__"
        return self.generic_visit(tree)

    def scan(self, tree):
        """Notes all names that are local to the function."""
        for node in ast.walk(tree):
            if isinstance(node, ast.arg):
                self.local.add(node.arg)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self.local.add(node.id)
            elif isinstance(node, ast.FunctionDef) and node is not tree:
                self.local.add(node.name)

    def strip_arguments(self, tree, known):
        a = tree.args
        defaults = dict(zip([x.arg for x in a.args][len(a.args) - len(a.defaults) :], a.defaults))
        scoped = scoped_name(tree)
        gone = set(known) | ({"name"} if scoped else set())
        a.args = [x for x in a.args if x.arg not in gone]
        a.defaults = [defaults[x.arg] for x in a.args if x.arg in defaults]
        kept = [(x, d) for x, d in zip(a.kwonlyargs, a.kw_defaults) if x.arg not in gone]
        a.kwonlyargs, a.kw_defaults = [x for x, _ in kept], [d for _, d in kept]
        a.defaults = [self.visit(d) for d in a.defaults]
        a.kw_defaults = [d and self.visit(d) for d in a.kw_defaults]
        for x in (*a.args, *a.kwonlyargs):
            x.annotation = None
        tree.returns, tree.decorator_list = None, [self.visit(d) for d in tree.decorator_list]

    def learn(self, tree):
        """Notes the local names that are assigned once, to something known."""
        stores, values = {}, {}
        for node in ast.walk(tree):
            names = [node.arg] if isinstance(node, ast.arg) else []
            names += [node.name] if isinstance(node, ast.FunctionDef) else []
            names += [node.id] if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else []
            for name in names:
                stores[name] = stores.get(name, 0) + 1
            if isinstance(node, ast.Assign) and len(node.targets) == 1:
                values.update(self.assigned(node.targets[0], node.value))
        options = [k.value for k in ast.walk(tree) if isinstance(k, ast.keyword) and k.arg is None]
        for name, value in values.items():
            loads = [
                n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Load)
            ]
            changes = isinstance(value, list | dict | set) and not all(any(n is o for o in options) for n in loads)
            if stores[name] == 1 and name not in self.env and not changes and not is_lambda(value):
                self.env[name] = value

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

    def forget(self, tree):
        """Drops assignments of names that nothing reads any more, where making the value has no effect."""
        read = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}

        class Drop(ast.NodeTransformer):
            def visit_Assign(self, node):
                target = node.targets[0]
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                plain = all(isinstance(name, ast.Name) for name in names)
                calls = isinstance(target, ast.Tuple) and any(isinstance(n, ast.Call) for n in ast.walk(node.value))
                same = isinstance(target, ast.Name) and isinstance(node.value, ast.Name) and target.id == node.value.id
                unread = len(node.targets) == 1 and plain and not calls and not any(name.id in read for name in names)
                return None if same or unread else node

            def visit_AugAssign(self, node):
                return node if ast.unparse(node.target) in read or not isinstance(node.target, ast.Name) else None

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

        Drop().visit(tree)

    # Statements

    def block(self, body):
        """Returns the statements that are left of a block."""
        found = []
        for statement in body:
            result = self.visit(statement)
            found += result if isinstance(result, list) else [result] if result is not None else []
            if found and isinstance(found[-1], ast.Return | ast.Raise):
                break
        return found

    def visit_FunctionDef(self, node):
        inner = {x.arg for x in (*node.args.args, *node.args.kwonlyargs)}
        kept, self.env = self.env, {n: v for n, v in self.env.items() if n not in inner}
        for x in (*node.args.args, *node.args.kwonlyargs):
            x.annotation = None
        node.args.defaults = [self.visit(d) for d in node.args.defaults]
        node.args.kw_defaults = [d and self.visit(d) for d in node.args.kw_defaults]
        node.decorator_list, node.returns = [self.visit(d) for d in node.decorator_list], None
        node.body = self.block(node.body)
        self.env = kept
        return node

    def visit_Lambda(self, node):
        inner = {x.arg for x in node.args.args}
        kept, self.env = self.env, {n: v for n, v in self.env.items() if n not in inner}
        node = self.generic_visit(node)
        self.env = kept
        return node

    def visit_Assign(self, node):
        """Drops what is known and written out where it is read."""
        (target, *more) = node.targets
        known = lambda t: isinstance(t, ast.Name) and t.id in self.env and is_switch(self.env[t.id])  # noqa: E731
        if more:
            return self.generic_visit(node)
        if known(target):
            return None
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            pairs = [(t, v) for t, v in zip(target.elts, node.value.elts) if not known(t)]
            if len(pairs) == 1:
                node = ast.Assign([pairs[0][0]], pairs[0][1], lineno=0)
            elif pairs and len(pairs) < len(target.elts):
                target.elts, node.value.elts = map(list, zip(*pairs))
            elif not pairs:
                return None
        return self.generic_visit(node)

    def visit_Constant(self, node):
        text = self.source.get((getattr(node, "lineno", 0), getattr(node, "col_offset", 0)), "")
        return ast.Name(text, ast.Load()) if text else node

    def visit_Expr(self, node):
        if isinstance(node.value, ast.Constant):
            return (
                node if not isinstance(node.value.value, str) else ast.Expr(ast.Constant(docstring(node.value.value)))
            )
        if isinstance(node.value, ast.Call) and ast.unparse(node.value.func).startswith(CHECKS):
            return None
        return self.generic_visit(node)

    def condition(self, node):
        """Returns a condition without the parts of it that are known."""
        if isinstance(node, ast.BoolOp):
            left = [operand for operand in node.values if self.truth(operand) is DYNAMIC]
            return self.condition(left[0]) if len(left) == 1 else ast.BoolOp(node.op, [self.condition(o) for o in left])
        return self.visit(node)

    def visit_If(self, node):
        if len(node.body) == 1 and isinstance(node.body[0], ast.Raise):
            return self.block(node.orelse)
        truth = self.truth(node.test)
        if truth is not DYNAMIC:
            return self.block(node.body if truth else node.orelse)
        node.test = self.condition(node.test)
        node.body, node.orelse = self.block(node.body) or [ast.Pass()], self.block(node.orelse)
        return node

    def visit_For(self, node):
        node.iter = self.visit(node.iter)
        node.body = self.block(node.body)
        return node if node.body else None

    def visit_With(self, node):
        node.items = [i for i in node.items if not ast.unparse(i.context_expr).startswith("tf.name_scope")]
        body = self.block(node.body)
        if not node.items:
            return body
        node.items, node.body = [self.visit(i) for i in node.items], body
        return node

    # Expressions

    def visit(self, node):
        if isinstance(node, ast.expr) and not isinstance(getattr(node, "ctx", ast.Load()), ast.Store):
            written = self.written(node)
            if written is not None:
                return written
        return super().visit(node)

    def written(self, node):
        """Returns what stands for an expression that is known; None where it stays."""
        if not (self.mentions(node) or (isinstance(node, ast.Name | ast.Attribute) and self.is_ours(node))):
            return None
        value = self.evaluate(node)
        if value is DYNAMIC:
            return None
        if not is_literal(value) and hasattr(value, "__next__"):
            value = list(value)
        if isinstance(node, ast.Subscript) and (entry := self.entry(node)) is not None:
            return entry
        if self.program.owns(value):
            return self.reference(value)
        if is_literal(value):
            return ast.parse(repr(value), mode="eval").body
        if isinstance(value, range):
            return ast.parse(repr(value), mode="eval").body
        return None

    def mentions(self, node):
        """True where an expression reads something known that is written out: an argument that is gone, a setting."""
        gone = self.program.static(self.owner)
        named = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and n.id in self.env}
        return any(name in gone or is_switch(self.env[name]) or not is_literal(self.env[name]) for name in named)

    def is_ours(self, node):
        root = node
        while isinstance(root, ast.Attribute):
            root = root.value
        if not isinstance(root, ast.Name) or root.id in self.local:
            return False
        return self.program.owns(self.evaluate(node))

    def reference(self, value):
        """Returns the name by which a function or class will be known, and follows it."""
        if isinstance(value, types.FunctionType) and value not in self.program.known:
            self.program.join(value, arguments_of(value))
        self.program.uses.setdefault(value, set())
        self.program.reach(value)
        self.program.uses[self.owner] |= {id(value)}
        return ast.Name(f"__{id(value)}__", ast.Load())

    def entry(self, node):
        """Returns the expression that stands in a module's table at a known key, such as a lambda; else None."""
        if not isinstance(node.value, ast.Name | ast.Attribute):
            return None
        module, name = self.place(node.value)
        table = constant_of(module, name) if module else None
        key = self.evaluate(node.slice)
        if not isinstance(table, ast.Dict) or key is DYNAMIC:
            return None
        for k, v in zip(table.keys, table.values):
            if isinstance(k, ast.Constant) and k.value == key:
                return self.elsewhere(module).visit(copy.deepcopy(v))
        return None

    def elsewhere(self, module):
        """Returns a Specialiser that reads another module's names, for the same function."""
        other = Specialiser(self.program, self.owner)
        other.globals = vars(module)
        return other

    def place(self, node):
        """Returns the module that makes a name, and the name there; (None, "") where it is no module's."""
        if isinstance(node, ast.Attribute):
            module, name = self.evaluate(node.value), node.attr
            return (module, name) if isinstance(module, types.ModuleType) else (None, "")
        if node.id in self.local or node.id not in self.globals:
            return None, ""
        return origin(sys.modules[self.globals["__name__"]], node.id)

    def visit_Name(self, node):
        if isinstance(node.ctx, ast.Load) and node.id not in self.local and node.id in self.globals:
            value = self.globals[node.id]
            if isinstance(value, types.ModuleType):
                self.program.imports.add(node.id if node.id == value.__name__ else f"{value.__name__} as {node.id}")
            elif self.program.owns(value):
                return self.reference(value)
            elif isinstance(value, types.FunctionType | type) or getattr(value, "__module__", "") in (
                "typing", "collections.abc",
            ):  # fmt: skip
                self.program.imports.add((value.__module__, value.__name__))
            else:
                module, name = origin(sys.modules[self.globals["__name__"]], node.id)
                self.constant(module, name)
                return ast.Name(name, ast.Load())
        return node

    def constant(self, module, name):
        """Has a module's constant written out."""
        if (module, name) not in self.program.constants:
            self.program.constants[module, name] = None
            tree = self.elsewhere(module).visit(copy.deepcopy(constant_of(module, name)))
            del self.program.constants[module, name]  # so that it stands behind those that it is made of
            self.program.constants[module, name] = tree

    def visit_Attribute(self, node):
        if isinstance(node.ctx, ast.Load):
            module, name = self.place(node) if not isinstance(node.value, ast.Call) else (None, "")
            if module and module.__name__.split(".")[0] in self.program.package and name in vars(module):
                value = vars(module)[name]
                if not isinstance(value, types.ModuleType) and not self.program.owns(value):
                    module, name = origin(module, name)
                    self.constant(module, name)
                    return ast.Name(name, ast.Load())
        return self.generic_visit(node)

    def visit_IfExp(self, node):
        truth = self.truth(node.test)
        if truth is not DYNAMIC:
            return self.visit(node.body if truth else node.orelse)
        node.test = self.condition(node.test)
        node.body, node.orelse = self.visit(node.body), self.visit(node.orelse)
        return node

    def visit_BoolOp(self, node):
        stops = isinstance(node.op, ast.Or)
        kept = []
        for i, operand in enumerate(node.values):
            truth = self.truth(operand)
            if truth is DYNAMIC or i == len(node.values) - 1:
                kept.append(operand)
            elif truth == stops:
                kept.append(operand)
                break
        kept = [self.visit(operand) for operand in kept]
        return kept[0] if len(kept) == 1 else ast.BoolOp(node.op, kept)

    def visit_Call(self, node):
        node.keywords = [k for keyword in node.keywords for k in self.expanded(keyword)]
        function = self.evaluate(node.func)
        if not isinstance(function, types.FunctionType | type) or not self.program.owns(function):
            node = self.generic_visit(node)
            return substituted(node) if isinstance(node.func, ast.Lambda) else node
        if function.__name__ in IDENTITIES:
            return self.visit(node.args[0])
        if isinstance(function, types.FunctionType):
            self.program.join(function, self.arguments(function, node))
        node.func = self.reference(function)
        if isinstance(function, types.FunctionType):
            node = without(node, function, set(self.program.static(function)))
        if function in self.program.identities:
            return self.visit(node.args[0])
        node.args = [self.visit(a) for a in node.args]
        node.keywords = [ast.keyword(k.arg, self.visit(k.value)) for k in node.keywords]
        return node

    def expanded(self, keyword):
        """Yields the keywords that **options stands for, where they are known."""
        options = self.evaluate(keyword.value) if keyword.arg is None else DYNAMIC
        if not isinstance(options, dict):
            return [keyword]
        return [ast.keyword(n, ast.parse(repr(v), mode="eval").body) for n, v in options.items()]

    def arguments(self, function, node):
        """Returns {argument: value or DYNAMIC} of a call."""
        values = arguments_of(function)
        if any(k.arg is None for k in node.keywords):
            values = dict.fromkeys(values, DYNAMIC)
        for i, name in enumerate(inspect.signature(function).parameters):
            if i < len(node.args) and isinstance(node.args[i], ast.Starred):
                values.update(dict.fromkeys(list(values)[i:], DYNAMIC))
                break
            if i < len(node.args):
                values[name] = self.evaluate(node.args[i])
        for keyword in node.keywords:
            if keyword.arg:
                values[keyword.arg] = self.evaluate(keyword.value)
        return values

    # What is known

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
        inner = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        for part in ast.walk(node):
            if isinstance(part, ast.Lambda | ast.NamedExpr | ast.Await | ast.Yield):
                return DYNAMIC
            if isinstance(part, ast.Name) and part.id not in inner and self.lookup(part.id) is DYNAMIC:
                return DYNAMIC
            if isinstance(part, ast.Call) and not self.is_pure(part, inner):
                return DYNAMIC
        try:
            return eval(compile(ast.fix_missing_locations(ast.Expression(copy.deepcopy(node))), "", "eval"),
                        {"__builtins__": builtins, **self.globals, **self.env})  # fmt: skip
        except Exception:
            return DYNAMIC

    def lookup(self, name):
        if name in self.env:
            return self.env[name]
        if name in self.local:
            return DYNAMIC
        return self.globals.get(name, getattr(builtins, name, DYNAMIC))

    def is_pure(self, node, inner):
        if any(isinstance(n, ast.Name) and n.id in inner for n in ast.walk(node.func)):
            return False
        function = self.evaluate(node.func)
        try:
            return function in self.program.pure or getattr(function, "__self__", None).__class__ in (
                str,
                tuple,
                list,
                dict,
            )
        except TypeError:
            return False

    def is_identity(self, tree):
        """True where nothing is left of a function but the return of its first argument."""
        body = [s for s in tree.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
        first = tree.args.args[0].arg if tree.args.args else ""
        body = [s for s in body if ast.unparse(s) != f"{first} = tf.convert_to_tensor({first})"]
        return len(body) == 1 and ast.unparse(body[0]) == f"return {first}"


def hexadecimals(owner, tree):
    """Returns {(line, column): text} of the numbers that are written in hexadecimal, to be written so again."""
    source = textwrap.dedent(inspect.getsource(owner))
    numbers = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, int)]
    texts = {(n.lineno, n.col_offset): ast.get_source_segment(source, n) for n in numbers}
    return {place: text for place, text in texts.items() if text.startswith("0x")}


def reached(program, main):
    """Returns the functions and classes, and the names of the constants, that `main` still needs."""
    found, left = [], [main]
    numbers = {f"__{id(value)}__": value for value in program.done}
    constants = {name: tree for (_, name), tree in program.constants.items()}
    while left:
        value = left.pop()
        if value in found:
            continue
        found.append(value)
        tree = constants[value] if isinstance(value, str) else program.done[value]
        names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
        left += [*(numbers[name] for name in names & set(numbers)), *sorted(names & set(constants))]
    return [v for v in found if not isinstance(v, str)], [v for v in found if isinstance(v, str)]


def scoped_name(tree):
    """True where a function takes a name for the scope of its operations and nothing else."""
    inside = [ast.unparse(n.context_expr) for n in ast.walk(tree) if isinstance(n, ast.withitem)]
    loads = sum(isinstance(n, ast.Name) and n.id == "name" for n in ast.walk(tree))
    return "tf.name_scope(name)" in inside and loads == 1


def without(node, function, gone):
    """Returns a call without the arguments that the function is written out without."""
    names = list(inspect.signature(function).parameters)
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    gone = gone | ({"name"} if scoped_name(tree) else set())
    node.args = [
        a for i, a in enumerate(node.args) if isinstance(a, ast.Starred) or names[min(i, len(names) - 1)] not in gone
    ]
    node.keywords = [k for k in node.keywords if k.arg not in gone]
    return node


def arguments_of(function):
    """Returns {argument: its default, or DYNAMIC}."""
    empty = inspect.Parameter.empty
    parameters = inspect.signature(function).parameters.values()
    return {p.name: DYNAMIC if p.default is empty else p.default for p in parameters}


def substituted(node):
    """Returns the body of a lambda that is called, with its arguments in place."""
    values = dict(zip([a.arg for a in node.func.args.args], node.args))

    class Put(ast.NodeTransformer):
        def visit_Name(self, name):
            return copy.deepcopy(values.get(name.id, name))

    return Put().visit(node.func.body)


def origin(module, name):
    """Returns the module in which a constant is made, and its name there, behind `from … import … as`."""
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name and node.module in sys.modules:
                    return origin(sys.modules[node.module], alias.name)
    return module, name


def constant_of(module, name):
    """Returns the expression that a module's constant is made of; None where there is none."""
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return node.value
    return None


def docstring(text):
    """Returns a docstring without its paragraph of errors, which are not raised here."""
    lines, kept, inside = text.splitlines(), [], False
    for line in lines:
        if line.strip().startswith("Raises:"):
            inside = True
        elif inside and (not line.strip() or len(line) - len(line.lstrip()) <= 4):
            inside = False
        if not inside:
            kept.append(line)
    while len(kept) > 1 and not kept[-1].strip():
        kept.pop()
    return "\n".join(kept) + ("\n    " if len(kept) > 1 else "")
