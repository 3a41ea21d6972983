"""Rewrites one function, or class, for what is known of its arguments: its statements.

Checks and name scopes are left out, and so are the branches that are not taken.
"""

import ast

from specialise import syntax
from specialise.expressions import TYPING, Expressions
from specialise.known import DYNAMIC, as_tree, is_switch
from specialise.syntax import of_pairs, pairs_of, parsed
from specialise.tidy import forget

CHECKS = ("_check", "check_", "settings.")  # calls that begin so only raise


class Rewriter(Expressions):
    """Writes a function, or a class, of a `program.Program`."""

    def function(self):
        """Returns the function without its known arguments, and with what follows from them."""
        tree = syntax.replaced(syntax.tree_of(self.owner), self.program.equal.get(self.owner, {}))
        self.gone = self.program.gone(self.owner)
        self.known.local = set(syntax.stored(tree))
        self.known.env = self.program.values(self.owner)
        self.hexadecimals = syntax.hexadecimals(self.owner)
        self.strip_arguments(tree)
        for self.pruning in (True, True, True, False):  # a branch that goes may leave a name with one value
            self.known.learn(tree)
            tree.body = self.block(tree.body)
            forget(tree)
        tree.name = self.program.name(self.owner)
        return tree

    def class_(self):
        """Returns a class without its methods; the fields' types are those that plain Python has."""
        tree = syntax.tree_of(self.owner)
        tree.body = [s for s in tree.body if not isinstance(s, ast.FunctionDef)]
        for field in [s for s in tree.body if isinstance(s, ast.AnnAssign)]:
            field.annotation = self.plain_type(field.annotation)
            field.value = field.value and self.visit(field.value)
        tree.bases = [self.visit(node) for node in tree.bases]
        tree.decorator_list = [self.visit(node) for node in tree.decorator_list]
        tree.name = self.program.name(self.owner)
        return tree

    def plain_type(self, node):
        """Returns an annotation in words of Python and TensorFlow: of `Weights`, a name for a dictionary, `dict`."""
        value = self.known.evaluate(node)
        value = getattr(value, "__value__", value)  # of `type Weights = dict`
        value = getattr(value, "__origin__", value)
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("tf."):
            return node
        if value is None or getattr(value, "__module__", "") == "builtins":
            return parsed(getattr(value, "__name__", "None"))
        if getattr(value, "__module__", "") in TYPING and getattr(value, "__name__", "") == "Callable":
            self.program.imports.add("from collections.abc import Callable")
            return ast.Name("Callable", ast.Load())
        return parsed("object")

    def strip_arguments(self, tree):
        """Takes the known arguments off a function, and all annotations."""
        syntax.drop_arguments(tree, set(self.gone) | ({"name"} if syntax.is_scope(tree) else set()))
        syntax.strip_annotations(tree)
        self.visit_outside(tree)

    def visit_outside(self, tree):
        """Visits the defaults and the decorators of a function, which are read outside of it."""
        tree.args.defaults = [self.visit(d) for d in tree.args.defaults]
        tree.args.kw_defaults = [d and self.visit(d) for d in tree.args.kw_defaults]
        tree.decorator_list = [self.visit(d) for d in tree.decorator_list]

    def block(self, body):
        """Returns the statements that are left of a block."""
        found = []
        for statement in body:
            result = self.visit(statement)
            found += result if isinstance(result, list) else [result] if result is not None else []
            if found and isinstance(found[-1], ast.Return | ast.Raise):
                break
        return found

    def hidden(self, node, visit):
        """Returns visit(node), without what is known of the names that are the arguments of a function inside."""
        inner, kept = {x.arg for x in syntax.arguments(node)}, self.known.env
        self.known.env = {name: value for name, value in kept.items() if name not in inner}
        node = visit(node)
        self.known.env = kept
        return node

    def visit_FunctionDef(self, node):
        def inside(node):
            node.body = self.block(node.body)
            return node

        syntax.strip_annotations(node)
        self.visit_outside(node)
        return self.hidden(node, inside)

    def visit_Lambda(self, node):
        return self.hidden(node, self.generic_visit)

    def is_written(self, target):
        """True for a variable whose value stands wherever it is read."""
        return isinstance(target, ast.Name) and is_switch(self.known.env.get(target.id, 1))

    def visit_AnnAssign(self, node):
        return self.visit(ast.Assign([node.target], node.value, lineno=0)) if node.value else None

    def visit_Assign(self, node):
        """Drops what is known and written out where it is read."""
        left = [pair for pair in pairs_of(node) if not self.is_written(pair[0])]
        node = of_pairs(node, left)
        return node and self.generic_visit(node)

    def visit_Expr(self, node):
        if isinstance(node.value, ast.Constant):
            return node
        if isinstance(node.value, ast.Call) and ast.unparse(node.value.func).startswith(CHECKS):
            return None
        return self.generic_visit(node)

    def visit_If(self, node):
        if isinstance(node.body[0], ast.Raise) and "SystemExit" not in ast.unparse(node.body[0]):
            return self.block(node.orelse)
        truth = self.known.truth(node.test)
        if truth is not DYNAMIC:
            return self.block(node.body if truth else node.orelse)
        node.test = self.condition(node.test)
        node.body, node.orelse = self.block(node.body) or [ast.Pass()], self.block(node.orelse)
        return node

    def visit_For(self, node):
        """Writes the values of a loop out, where they are known, without those that never vary; once needs no loop."""
        items, rows = self.known.items(node.iter), self.known.rows(node.iter)
        names, inside = set(syntax.stored(node.target)), ast.Module(node.body, [])
        if len(items) == 1 and not self.pruning and not names & set(syntax.stored(inside)):
            return self.once(node, items[0])
        node.iter, node.body = self.visit(node.iter), self.block(node.body)
        if rows and isinstance(node.target, ast.Tuple):
            used = {n.id for n in syntax.reads(ast.Module(node.body, []))}
            names = node.target.elts
            self.columns(node, rows, [i for i, t in enumerate(names) if not self.is_written(t) and t.id in used])
        return node if node.body else None

    def columns(self, node, rows, left):
        """Has a loop over tuples go through some of their entries only."""
        names = node.target.elts
        if len(left) == 1:
            node.target, node.iter = names[left[0]], as_tree(tuple(row[left[0]] for row in rows))
        elif left and len(left) < len(names):
            node.target = ast.Tuple([names[i] for i in left], ast.Store())
            node.iter = as_tree(tuple(tuple(row[i] for i in left) for row in rows))

    def once(self, node, item):
        """Returns the body of a loop for its only value."""
        names = node.target.elts if isinstance(node.target, ast.Tuple) else [node.target]
        bound = dict(zip([n.id for n in names], item if isinstance(node.target, ast.Tuple) else [item]))
        env, gone = self.known.env, self.gone
        self.known.env, self.gone = env | bound, gone | bound
        body = self.block(node.body)
        self.known.env, self.gone = env, gone
        return body

    def visit_With(self, node):
        node.items = [i for i in node.items if not ast.unparse(i.context_expr).startswith("tf.name_scope")]
        body = self.block(node.body)
        if not node.items:
            return body
        node.items, node.body = [self.visit(i) for i in node.items], body
        return node
