"""What the flags of a sweep mean: 1e-2,1e-3 are two values, 1e-4:1e-1 is a range, 256+128 one value of two numbers."""

import flags

import functools
import re
from typing import NamedTuple

import train_cnn
import train_mlp
import train_transfer
import training_flags
from absl.flags import DEFINE_string

from tfcore.recipes import RECIPES

SCRIPTS = (train_mlp, train_cnn, train_transfer)
NOT_TAKEN = ("recipe", "logdir", "clean", "strategy", "traceback")  # the sweep has its own, or needs none
ONE_VALUE = ("data_dir", "dataset", "weights", "histograms", "check_numerics", "profile")  # a comma in them is a comma


def script_of(recipe):
    """Returns the training script, as a module, that offers a recipe."""
    return next(script for script in SCRIPTS if recipe in script.NAMES)


@functools.cache
def of_scripts():
    """Returns {name: flag} of what the training scripts take and a sweep passes on."""
    parsers = [flags.parser(script.define) for script in reversed(SCRIPTS)]
    return {name: values[name] for values in parsers for name in flags.own_names(values) if name not in NOT_TAKEN}


def define(values):
    """Defines the flags of the training scripts, each as text."""
    for name, flag in of_scripts().items():
        text = re.sub(r" \[[^]]*\]$", "", flag.help)  # the default, which the recipe says
        text = re.sub(r"(?<=\d),(?=\d)", "+", text) if is_list(flag) else text
        DEFINE_string(name, None, text, flag_values=values)


class Axis(NamedTuple):
    """What is tried of one flag: `values`, as they were typed, or what lies between `low` and `high`."""

    name: str
    values: tuple = ()
    low: float | None = None
    high: float | None = None

    @property
    def log(self):
        """True where a range spans so much that its orders of magnitude are what is drawn from."""
        return self.low > 0 and self.high >= 10 * self.low

    @property
    def examples(self):
        """Values that are right when all are: all, or the two ends."""
        return self.values or (self.low, self.high)

    def suggest(self, trial):
        """Returns the value of an Optuna trial: what it has already, or what the sampler chooses."""
        if self.values:
            return trial.suggest_categorical(self.name, self.values)
        draw = trial.suggest_int if isinstance(self.low, int) else trial.suggest_float
        return draw(self.name, self.low, self.high, log=self.log)

    def __str__(self):
        if self.values:
            return f"{self.name} {', '.join(self.values)}"
        return f"{self.name} {self.low:g} to {self.high:g}{', logarithmic' if self.log else ''}"


def argument(name, value):
    """Returns the argument of a training script that gives a flag this value."""
    flag = of_scripts()[name]
    return f"--{name}={value.replace('+', ',') if is_list(flag) else value}"


def is_list(flag):
    """True where one value of the flag is several numbers."""
    return flag.flag_type().startswith("comma separated list")


def read(values):
    """Returns the flags as (fixed, axes): {name: value} of those with one value, and an `Axis` for each other.

    Raises:
      flags.Error: a value is wrong, or none varies.
    """
    known, fixed, axes = of_scripts(), {}, []
    for name in known:
        text = values[name].value
        if text is None:
            continue
        found = Axis(name, (text,)) if name in ONE_VALUE else axis(known[name], text)
        if len(found.values) == 1:
            fixed[name] = found.values[0]
        else:
            axes.append(found)
    if not axes:
        raise flags.usage_error(
            "give a flag several values, such as --learning_rate=1e-2,1e-3: there is nothing to try"
        )
    check(values.recipe, fixed, axes)
    return fixed, axes


def axis(flag, text):
    """Returns what a flag's text means. Raises flags.Error."""
    name = flag.name
    if ":" in text and flag.flag_type() in ("int", "float"):
        low, high = ends(flag, text)
        return Axis(name, (), low, high)
    found = tuple(value.strip() for value in text.split(","))
    if "" in found or len({str(parsed(flag, value)) for value in found}) < len(found):
        hint = "; the numbers of one value have + between, as in 256+128" if is_list(flag) else ""
        raise flags.usage_error(f"--{name}={text} must be different values with commas between{hint}")
    return Axis(name, found)


def ends(flag, text):
    """Returns the two numbers of a range. Raises flags.Error."""
    try:
        low, high = (parsed(flag, part) for part in text.split(":"))
    except ValueError:
        low = high = 0
    if not low < high:
        raise flags.usage_error(f"--{flag.name}={text} must be a range: two numbers, the smaller one first")
    return low, high


def parsed(flag, text):
    """Returns one value of a flag. Raises flags.Error."""
    try:
        return flag.parser.parse(text)
    except ValueError as error:
        raise flags.usage_error(f"--{flag.name}={text}: {error}") from None


def check(recipe, fixed, axes):
    """Raises flags.Error: the recipe's script would refuse one of the values, with the first ones of the others."""
    firsts = {axis.name: axis.examples[0] for axis in axes}
    script = script_of(recipe)
    change = train_cnn.changed_recipe if script is train_cnn else training_flags.changed_recipe
    offered = flags.own_names(flags.parser(script.define))
    if odd := [name for name in {**fixed, **firsts} if name not in offered]:
        raise flags.usage_error(f"--{odd[0]} is no flag of {script.__name__}.py, which trains {recipe}")
    for name, value in [(axis.name, value) for axis in axes for value in axis.examples]:
        values = flags.parser(script.define)
        values([script.__name__, *arguments(recipe, {**fixed, **firsts, name: value})])
        change(RECIPES[recipe], values)


def arguments(recipe, chosen):
    """Returns the arguments of a training script. chosen: {flag: value}."""
    return [f"--recipe={recipe}", *(argument(name, value) for name, value in chosen.items())]
