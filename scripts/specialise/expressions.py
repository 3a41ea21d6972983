"""Rewrites expressions for what is known: conditions, settings and tables become their values.

A call of another function of the package is told to the program, which then writes that function too.
"""

import ast
import copy
import sys
import types

from specialise import syntax
from specialise.known import DYNAMIC, Known, as_tree, is_literal, is_switch

IDENTITIES = ("checked", "connected", "all_reduce")  # calls that return their first argument, on one device
TYPING = ("typing", "collections.abc")


class Expressions(ast.NodeTransformer):
    """Rewrites the expressions of one function of a `program.Program`.

    known: what is known of its names; gone: {name: value} of those that it is written out without.
    """

    def __init__(self, program, owner, module=None):
        self.program, self.owner = program, owner
        self.module = module or sys.modules[owner.__module__]
        self.known = Known(program.pure, vars(self.module))
        self.gone, self.hexadecimals, self.pruning = {}, {}, False

    def visit(self, node):
        """Visits a node; expressions only when all branches are chosen, so that no call is followed in vain."""
        if isinstance(node, ast.expr) and self.pruning:
            return node
        if isinstance(node, ast.expr) and not isinstance(getattr(node, "ctx", ast.Load()), ast.Store):
            written = self.written(node)
            if written is not None:
                return written
        return super().visit(node)

    def written(self, node):
        """Returns what stands for an expression that is known; None where it stays."""
        if not (self.mentions(node) or (isinstance(node, ast.Name | ast.Attribute) and self.is_ours(node))):
            return None
        value = self.known.evaluate(node)
        if value is DYNAMIC:
            return None
        if isinstance(node, ast.Subscript) and (entry := self.entry(node)) is not None:
            return entry
        return self.program.reference(value) if self.program.owns(value) else as_tree(value)

    def mentions(self, node):
        """True where an expression reads what is written out, an argument that is gone or a setting, and no other."""
        env, kept = self.known.env, set(self.program.values(self.owner)) - set(self.gone)
        named = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and n.id in env}
        written = any(name in self.gone or is_switch(env[name]) or not is_literal(env[name]) for name in named)
        return written and not named & kept

    def is_ours(self, node):
        """True for the name of a function or class of the package, also behind the names of modules."""
        root = node
        while isinstance(root, ast.Attribute):
            root = root.value
        known_root = isinstance(root, ast.Name) and root.id not in self.known.local
        return known_root and self.program.owns(self.known.evaluate(node))

    def entry(self, node):
        """Returns the expression that stands in a module's table at a known key, such as a lambda; else None."""
        if not isinstance(node.value, ast.Name | ast.Attribute):
            return None
        module, name = self.place(node.value)
        table = syntax.constant_of(module, name) if module else None
        key = self.known.evaluate(node.slice)
        for k, v in zip(table.keys, table.values) if isinstance(table, ast.Dict) and key is not DYNAMIC else ():
            if isinstance(k, ast.Constant) and k.value == key:
                return type(self)(self.program, self.owner, module).visit(copy.deepcopy(v))
        return None

    def place(self, node):
        """Returns the module that makes a name, and the name there; (None, "") where it is no module's."""
        if isinstance(node, ast.Attribute) and not isinstance(node.value, ast.Call):
            module = self.known.evaluate(node.value)
            return syntax.origin(module, node.attr) if self.program.owns_module(module) else (None, "")
        if not isinstance(node, ast.Name) or node.id in self.known.local or node.id not in self.known.globals:
            return None, ""
        return syntax.origin(self.module, node.id)

    def constant(self, module, name):
        """Has a module's constant written out; returns its name."""
        self.program.constant(name, lambda: type(self)(self.program, self.owner, module).visit(
            copy.deepcopy(syntax.constant_of(module, name))))  # fmt: skip
        return ast.Name(name, ast.Load())

    def visit_Constant(self, node):
        text = self.hexadecimals.get((getattr(node, "lineno", 0), getattr(node, "col_offset", 0)), "")
        return ast.Name(text, ast.Load()) if text else node

    def visit_Name(self, node):
        if not isinstance(node.ctx, ast.Load) or node.id in self.known.local or node.id not in self.known.globals:
            return node
        value = self.known.globals[node.id]
        if isinstance(value, types.ModuleType):
            same = node.id == value.__name__
            self.program.imports.add(f"import {value.__name__}" + ("" if same else f" as {node.id}"))
        elif isinstance(value, types.FunctionType | type) or getattr(value, "__module__", "") in TYPING:
            self.program.imports.add(f"from {value.__module__} import {value.__name__}")
        else:
            return self.constant(*self.place(node))
        return node

    def visit_Attribute(self, node):
        module, name = self.place(node) if isinstance(node.ctx, ast.Load) else (None, "")
        value = vars(module).get(name) if module else None
        if value is not None and not isinstance(value, types.ModuleType) and not self.program.owns(value):
            return self.constant(module, name)
        return self.generic_visit(node)

    def condition(self, node):
        """Returns a condition without the parts of it that are known."""
        if isinstance(node, ast.BoolOp):
            left = [operand for operand in node.values if self.known.truth(operand) is DYNAMIC]
            return self.condition(left[0]) if len(left) == 1 else ast.BoolOp(node.op, [self.condition(o) for o in left])
        return self.visit(node)

    def visit_IfExp(self, node):
        truth = self.known.truth(node.test)
        if truth is not DYNAMIC:
            return self.visit(node.body if truth else node.orelse)
        node.test = self.condition(node.test)
        node.body, node.orelse = self.visit(node.body), self.visit(node.orelse)
        return node

    def visit_BoolOp(self, node):
        stops, kept = isinstance(node.op, ast.Or), []
        for i, operand in enumerate(node.values):
            truth = self.known.truth(operand)
            if truth is DYNAMIC or truth == stops or i == len(node.values) - 1:
                kept.append(self.visit(operand))
            if truth == stops:
                break
        return kept[0] if len(kept) == 1 else ast.BoolOp(node.op, kept)

    def visit_Call(self, node):
        node.keywords = [k for keyword in node.keywords for k in self.expanded(keyword)]
        function = self.known.evaluate(node.func)
        if not isinstance(function, types.FunctionType | type) or not self.program.owns(function):
            return self.generic_visit(node)
        if function.__name__ in IDENTITIES:
            return self.visit(node.args[0])
        if isinstance(function, types.FunctionType):
            self.program.called(function, node, self.known.evaluate)
            node = syntax.without(node, function, self.program.gone(function))
        node.func = self.program.reference(function)
        node.args = [self.visit(a) for a in node.args]
        node.keywords = [ast.keyword(k.arg, self.visit(k.value)) for k in node.keywords]
        return node

    def expanded(self, keyword):
        """Returns the keywords that **options stands for, where they are known."""
        options = self.known.evaluate(keyword.value) if keyword.arg is None else DYNAMIC
        return [ast.keyword(n, as_tree(v)) for n, v in options.items()] if isinstance(options, dict) else [keyword]
