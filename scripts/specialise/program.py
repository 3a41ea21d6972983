"""The functions that a program reaches, each with what is known of its arguments in all calls."""

import ast
import inspect
import types

from specialise.known import DYNAMIC, arguments_of, is_lambda, is_literal, is_switch
from specialise.rewrite import Rewriter
from specialise.syntax import reassigned
from tfcore.quiet import tf


class Program:
    """The functions that are reached from `main`, each with what is known of its arguments.

    package: the names of the packages whose functions are written out. pure: functions that may be called now.
    equal: {function: {expression: another, that is equal in this program}}.
    """

    def __init__(self, package, pure, equal):
        self.package, self.pure, self.equal = package, pure, equal
        self.known = {}  # of each function: {argument: value or DYNAMIC}
        self.trees, self.owners, self.imports = {}, {}, set()

    def run(self, main, **values):
        """Follows all calls from main(**values) until nothing changes; `trees` are the program's parts, by name."""
        self.join(main, values)
        before = None
        while before != self.known:
            before = {function: dict(values) for function, values in self.known.items()}
            self.trees, self.owners, self.imports = {}, {}, set()
            self.reference(main)

    def name(self, value):
        """Returns the name by which a function or class is known until it gets one that is alone in the program."""
        return f"__{id(value)}__"

    def reference(self, value):
        """Returns the name of a function or class as an expression, and has it written, once."""
        name = self.name(value)
        if isinstance(value, types.FunctionType) and value not in self.known:
            self.join(value, arguments_of(value))
        if name not in self.owners:
            self.owners[name] = value
            worker = Rewriter(self, value)
            self.trees[name] = worker.function() if isinstance(value, types.FunctionType) else worker.class_()
        return ast.Name(name, ast.Load())

    def constant(self, name, make):
        """Notes a constant, whose expression is made(), behind those that it is made of."""
        if name not in self.trees:
            self.trees[name] = None
            value = make()
            del self.trees[name]
            self.trees[name] = ast.Assign([ast.Name(name, ast.Store())], value, lineno=0)

    def owns(self, value):
        """True for a function or class of the package, or of the program's own module."""
        is_code = isinstance(value, types.FunctionType | type) and not is_lambda(value)
        return is_code and self.is_inside(value.__module__)

    def owns_module(self, value):
        """True for a module of the package."""
        return isinstance(value, types.ModuleType) and self.is_inside(value.__name__)

    def is_inside(self, module):
        return (module or "").split(".")[0] in self.package

    def called(self, function, node, evaluate):
        """Notes the arguments of a call, as far as they can be evaluated."""
        values = arguments_of(function)
        if any(k.arg is None for k in node.keywords):
            values = dict.fromkeys(values, DYNAMIC)
        for i, name in enumerate(inspect.signature(function).parameters):
            if i < len(node.args) and isinstance(node.args[i], ast.Starred):
                values.update(dict.fromkeys(list(values)[i:], DYNAMIC))
                break
            if i < len(node.args):
                values[name] = evaluate(node.args[i])
        values.update({k.arg: evaluate(k.value) for k in node.keywords if k.arg})
        self.join(function, values)

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
        ours = self.is_inside(getattr(value, "__module__", None) or type(value).__module__)
        return is_literal(value) or ours or isinstance(value, types.ModuleType | tf.DType)

    def values(self, function):
        """Returns {argument: value} of the arguments that have one value in all calls."""
        found = self.known.get(function, {})
        return {n: v for n, v in found.items() if v is not DYNAMIC and n not in reassigned(function)}

    def gone(self, function):
        """Returns {argument: value} of the arguments that a function is written out without."""
        return {name: value for name, value in self.values(function).items() if is_switch(value)}
