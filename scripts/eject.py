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
import specialise
from absl.flags import DEFINE_enum, DEFINE_integer

from tfcore import __version__, models
from tfcore.data import sources
from tfcore.models import cnn, inception_v3, transfer
from tfcore.recipes import RECIPES

PURE = (
    models.module_of, models.name_of, dataclasses.replace, transfer.trunk_of, ejected.head_of, ejected.trunk_recipe,
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
    recipe = RECIPES[values.recipe]
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
    program = specialise.Program(("tfcore", "ejected"), PURE)
    program.run(ejected.main, recipe=recipe)
    return formatted(assembled(program, recipe))


def assembled(program, recipe):
    """Returns the program's text: a docstring, imports, constants, functions in reading order, main."""
    found, needed = specialise.reached(program, ejected.main)
    order = sorted(found, key=position)
    names = names_of(program, order)
    parts = [bare(ast.unparse(ast.fix_missing_locations(program.done[v]))) for v in order]
    made = {name: tree for (_, name), tree in program.constants.items()}
    constants = {name: f"{name} = {ast.unparse(tree)}" for name, tree in made.items() if name in needed}
    text = "\n\n\n".join(parts)
    rename = lambda t: re.sub(r"__(\d+)__", lambda m: names[int(m[1])], t)  # noqa: E731
    early = [c for c in constants.values() if not re.search(r"__\d+__", c)]
    late = [c for c in constants.values() if re.search(r"__\d+__", c)]
    head = f'"""{recipe.name}: the recipe of tfcore {__version__} as one program.\n\n{USAGE}\n"""'
    body = "\n\n".join([head, imports_of(program, text), "\n".join(early), text, "\n".join(late), END])
    return rename(body)


USAGE = "python my_experiment.py --data_dir=…"
END = 'if __name__ == "__main__":\n    main()\n'


def position(value):
    """Returns where a function or class stands in the order of reading."""
    module = value.__module__.removeprefix("tfcore.")
    line = value.__code__.co_firstlineno if hasattr(value, "__code__") else 0
    if value is ejected.main:
        return len(ORDER) + 2, line
    return (ORDER.index(module) if module in ORDER else len(ORDER) + (module == "ejected")), line


def names_of(program, order):
    """Returns {id of a function or class: its name}: its own, with its module's before it where that is taken."""
    count = Counter(value.__name__ for value in order)
    taken = set(vars(builtins)) | {name for value in order for name in locals_of(program.done[value])}
    names = {}
    for value in order:
        name = value.__name__
        if count[name] > 1 or name in taken:
            name = f"{value.__module__.split('.')[-1]}_{name.lstrip('_')}"
        names[id(value)] = name
    return names


def locals_of(tree):
    """Returns the names that are assigned, or are arguments, in a function."""
    if not isinstance(tree, ast.FunctionDef):
        return set()
    stored = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return stored | {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)} | {
        n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n is not tree
    }  # fmt: skip


def bare(text):
    """Returns statements, one in each line, without the brackets around tuples that need none."""
    lines = text.splitlines()
    for i, line in enumerate(lines):
        match = re.fullmatch(r"(\s*)(return|[\w, ]+ =) \((.*)\)", line)
        if match and meaning(line) == meaning(f"{match[2]} {match[3]}"):
            lines[i] = f"{match[1]}{match[2]} {match[3]}"
    return "\n".join(lines)


def meaning(statement):
    """Returns what Python reads in an assignment or a return; None where it is neither."""
    with contextlib.suppress(SyntaxError):
        return ast.dump(ast.parse(re.sub("^return ", "x = ", statement.strip())))


def imports_of(program, text):
    """Returns the lines of the imports: the standard library, then NumPy and TensorFlow."""
    lines = []
    for item in program.imports:
        if "tfcore" in str(item):
            continue
        lines.append(f"from {item[0]} import {item[1]}" if isinstance(item, tuple) else f"import {item}")
    return "\n".join(sorted(lines))


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
