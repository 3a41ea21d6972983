"""Prints a recipe as one program that imports TensorFlow and NumPy only.

python scripts/eject.py --recipe=fashion_cnn > my_experiment.py && python my_experiment.py --data_dir=~/data
"""

import flags

import ast
import builtins
import contextlib
import dataclasses
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import ejected
import ejected_facts
from absl.flags import DEFINE_enum, DEFINE_integer
from specialise import docstrings, syntax, tidy
from specialise.program import Program

from tfcore import __version__, models, replicas
from tfcore.data import sources
from tfcore.models import cnn, inception_v3, transfer
from tfcore.recipes import RECIPES, on_this_processor

PURE = (
    models.module_of, models.name_of, dataclasses.replace, transfer.trunk_of, ejected.head_of, ejected.trunk_recipe,
    ejected.words_of, ejected.compiler, ejected.copies_of, ejected.is_whole, ejected.measures, replicas.several,
    replicas._context, inception_v3.parts, cnn.parts,
    cnn._convolutions, cnn.feature_shape, inception_v3.blocks, inception_v3.units, inception_v3.feature_shape,
)  # fmt: skip
# The order in which modules are read.
ORDER = (
    "init", "data.order", "data.augment", "data.decoding", "tree", "layers", "models.mlp", "models.mixer", "models.cnn",
    "models.inception_v3_blocks", "models.inception_v3", "models.transfer", "losses", "metrics", "schedules",
    "optimizers", "training", "recipes.assemble",
)  # fmt: skip


def define(values):
    """Defines the flags."""
    DEFINE_enum("recipe", None, list(RECIPES), "what: the recipe", required=True, flag_values=values)
    text = "what: how many folders of pictures there are, for --dataset=folder"
    DEFINE_integer("classes", 2, text, lower_bound=2, flag_values=values)
    text = "what: the set, in place of the recipe's"
    DEFINE_enum("dataset", None, sources.NAMES, text, flag_values=values)


def main(values, _):
    """Prints the program."""
    recipe = on_this_processor(RECIPES[values.recipe])
    recipe = dataclasses.replace(recipe, dataset=values.dataset or recipe.dataset)
    print(text_of(recipe, values.classes), end="")


def fitted(recipe, classes):
    """Returns the recipe with its network made to fit its set, as `fit_to_data` does when the set is there."""
    pictures = recipe.dataset in sources.PICTURES
    count = 1 if recipe.loss.startswith("sigmoid") else classes if pictures else 10
    shape = recipe.model.image_shape if pictures else (28, 28, 1)
    model = models.module_of(recipe.model).fit(recipe.model, image_shape=shape, classes=count)
    return dataclasses.replace(recipe, model=model)


def text_of(recipe, classes=2):
    """Returns the program of a recipe, formatted. classes: of its set, where that is a folder."""
    recipe = fitted(recipe, classes)
    program = Program(("tfcore", "ejected", "ejected_data"), PURE, ejected_facts.equal(recipe))
    program.run(ejected.main, recipe=recipe)
    return formatted(assembled(program, recipe))


def assembled(program, recipe):
    """Returns the program's text: a docstring, imports, constants, functions in reading order, main."""
    trees = tidy.tidied(program.trees, program.name(ejected.main))
    order = sorted(set(trees) & set(program.owners), key=lambda name: position(program.owners[name]))
    names = names_of(program, {name: trees[name] for name in order})
    rename = lambda text: re.sub(r"__\d+__", lambda match: names[match[0]], text)  # noqa: E731
    for name in order:
        words = spoken(program, program.owners[name], names)
        docstrings.trim(trees[name], words, ejected_facts.UNTRUE)
    code = "\n\n\n".join(bare(ast.unparse(ast.fix_missing_locations(trees[name]))) for name in order)
    constants = [ast.unparse(tree) for name, tree in trees.items() if name not in program.owners]
    early, late = ["\n".join(c for c in constants if ("__" in c) == uses) for uses in (False, True)]
    head = f'"""{recipe.name} of tfcore {__version__}: python my_experiment.py --data_dir=…"""'
    return rename("\n\n".join([head, "\n".join(sorted(program.imports)), early, code, late, END]))


def spoken(program, owner, names):
    """Returns {name that `owner` may speak of: what it is called in the file}: functions beside it, and settings."""
    there = vars(sys.modules[owner.__module__]).items()
    numbers = {n: repr(v) for n, v in program.gone(owner).items() if isinstance(v, float)}
    return {name: names[key] for name, value in there if (key := program.name(value)) in names} | numbers


MANY = 6  # arguments with a name, of a call that fills its lines
END = 'if __name__ == "__main__":\n    main()\n'


def position(value):
    """Returns where a function or class stands in the order of reading."""
    module = value.__module__.removeprefix("tfcore.")
    line = value.__code__.co_firstlineno if hasattr(value, "__code__") else 0
    if value is ejected.main:
        return len(ORDER) + 2, line
    return (ORDER.index(module) if module in ORDER else len(ORDER) + (module == "ejected")), line


def names_of(program, trees):
    """Returns {name in the trees: name in the file}: its own, with its module's before it where that is taken."""
    count = Counter(program.owners[name].__name__ for name in trees)
    taken = set(vars(builtins)) | {local for tree in trees.values() for local in syntax.stored(tree)}
    names = {}
    for key in trees:
        value = program.owners[key]
        name = value.__name__
        if count[name] > 1 or name in taken:
            name = f"{value.__module__.split('.')[-1]}_{name.lstrip('_')}"
        names[key] = name
    return names


def bare(text):
    """Returns statements, one in each line, without the brackets around tuples that need none."""
    lines = text.splitlines()
    for i, line in enumerate(lines):
        match = re.fullmatch(r"(\s*)(return|[\w, ]+ =) \((.*)\)", line)
        if match and meaning(line) == meaning(f"{match[2]} {match[3]}"):
            lines[i] = f"{match[1]}{match[2]} {match[3]}"
        elif len(line) > 120:
            lines[i] = filled(line)
    return "\n".join(lines)


def filled(line):
    """Returns a call of many arguments in full lines; the formatter would put each on its own."""
    with contextlib.suppress(SyntaxError, IndexError):
        call = ast.parse(re.sub("^return ", "x = ", line.strip())).body[0].value
        if isinstance(call, ast.Call) and len(call.keywords) >= MANY:
            indent, function = re.match(" *", line)[0], ast.unparse(call.func)
            lines = [f"{indent}   "]
            for argument in [*call.args, *call.keywords]:
                text = f" {ast.unparse(argument)},"
                lines += [] if len(lines[-1] + text) <= 120 else [f"{indent}   "]
                lines[-1] += text
            return "\n".join([line[: line.index(f"{function}(")] + f"{function}(", *lines, f"{indent})  # fmt: skip"])
    return line


def meaning(statement):
    """Returns what Python reads in an assignment or a return; None where it is neither."""
    with contextlib.suppress(SyntaxError):
        return ast.dump(ast.parse(re.sub("^return ", "x = ", statement.strip())))


def formatted(text):
    """Returns a program as ruff formats it, without imports that it does not use.

    Raises:
      ValueError: ruff is not installed.
    """
    ruff = shutil.which("ruff", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if not ruff:
        raise ValueError("a program is formatted by ruff, which is not installed: pip install tfcore[eject]")
    for command in (["check", "--select=I,F401", "--fix", "--exit-zero"], ["format"]):
        line = [ruff, *command, "--isolated", "--line-length=120", "--quiet", "-"]
        done = subprocess.run(line, input=text, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"ruff: {done.stderr.strip().splitlines()[0]}")
        text = done.stdout
    return text


if __name__ == "__main__":
    flags.start(main, define)
