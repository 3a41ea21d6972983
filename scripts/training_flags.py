"""The flags of the training scripts: each changes one field of a recipe, and so the name of the run's directory."""

from flags import integers, usage_error

import ast
import contextlib
import dataclasses
import functools
import os
import re
import shlex
import sys
from pathlib import Path

from absl import flags

from tfcore import distribution, recipes, tree
from tfcore.data.augment import FILLS
from tfcore.data.sources import NAMES
from tfcore.init import INITIALIZERS
from tfcore.models import transfer
from tfcore.recipes import assemble
from tfcore.recipes.recipe import CHOICES
from tfcore.run.directory import MAY_CHANGE

INTEGER, FLOAT, BOOLEAN, STRING, LIST = (
    flags.DEFINE_integer, flags.DEFINE_float, flags.DEFINE_boolean, flags.DEFINE_string, flags.DEFINE_list,
)  # fmt: skip


def _choice(*names):
    return functools.partial(flags.DEFINE_enum, enum_values=list(names))


# Each flag of a recipe: its kind, its help, and the part of the recipe that it is a field of.
FIELDS = {
    "train_examples": (INTEGER, "more what: how many examples to train on, 0 for all", ""),
    "validation": (INTEGER, "more what: training examples held out for validation", ""),
    "image_size": (STRING, "more what: HxW that pictures are brought to, such as 150x150", "model"),
    "resize": (_choice(*CHOICES["resize"]), "more what: how pictures of other proportions are fitted", ""),
    "max_bad_fraction": (FLOAT, "more what: how many pictures may be unusable, 0 to 1", ""),
    "hidden": (LIST, "network: widths of the dense layers before the logits, such as 256,256", "model"),
    "dropout": (FLOAT, "network: drop probability of the dense layers", "model"),
    "init": (_choice(*sorted(INITIALIZERS)), "network: initializer of the weights", "model"),
    "epochs": (INTEGER, "training: passes over the training examples", ""),
    "batch_size": (INTEGER, "training: examples in a step", ""),
    "learning_rate": (FLOAT, "training: learning rate, at its peak", ""),
    "optimizer": (_choice(*CHOICES["optimizer"]), "training: optimizer", ""),
    "seed": (INTEGER, "training: seed of weights, order, dropout and augmentation", ""),
    "loss": (_choice(*CHOICES["loss"]), "more training: loss", ""),
    "schedule": (_choice(*CHOICES["schedule"]), "more training: learning rate over the run", ""),
    "warmup_epochs": (FLOAT, "more training: epochs in which the learning rate rises", ""),
    "weight_decay": (FLOAT, "more training: weight decay of adamw, relative to the learning rate", ""),
    "clip_norm": (FLOAT, "more training: largest global norm of the gradients, 0 for no limit", ""),
    "ema_decay": (FLOAT, "more training: decay of the average of the weights, 0 for none", ""),
    "label_smoothing": (FLOAT, "more training: fraction of a target that is spread over the classes", ""),
    "patience": (INTEGER, "more training: epochs without improvement before stopping, 0 for never", ""),
    "precision": (_choice(*CHOICES["precision"]), "more training: of activations; weights and loss are float32", ""),
    "steps_per_epoch": (
        INTEGER,
        "more training: steps in an epoch, of a part of a pass or of several; 0 for one pass",
        "",
    ),
    "steps_per_loop": (INTEGER, "more training: steps in one call of the graph", ""),
    "validation_steps": (INTEGER, "more training: batches looked at after each epoch, 0 for all", ""),
    "report": (_choice(*CHOICES["report"]), "more training: which epoch's weights are tested and exported", ""),
    "view_flip": (BOOLEAN, "more training: test on the mean over the picture and its mirror image", ""),
    "view_shift": (INTEGER, "more training: test on the mean over all shifts by up to so many pixels", ""),
    "flip": (BOOLEAN, "augmentation: mirror left and right", "augment"),
    "shift": (FLOAT, "augmentation: largest shift, as a fraction of the side", "augment"),
    "zoom": (FLOAT, "augmentation: largest relative change of size", "augment"),
    "rotation": (FLOAT, "augmentation: largest rotation, degrees", "augment"),
    "elastic": (FLOAT, "more augmentation: typical elastic distortion, as a fraction of the side", "augment"),
    "shear": (FLOAT, "more augmentation: largest shear, degrees", "augment"),
    "brightness": (FLOAT, "more augmentation: largest change, as a fraction of the range", "augment"),
    "contrast": (FLOAT, "more augmentation: largest relative change of contrast", "augment"),
    "fill": (_choice(*FILLS), "more augmentation: what comes in from outside the picture", "augment"),
}


def define(values, names, default):
    """Defines the flags of a training script. names: of the recipes that it offers; default: the usual one."""
    enum, string = functools.partial(flags.DEFINE_enum, flag_values=values), flags.DEFINE_string
    enum("recipe", None, names, f"what: the run to start from, by default {default}")
    enum("dataset", None, [*NAMES, "auto"], "what: the set to train on; auto is the best at hand")
    string("data_dir", None, "what: where its files are; default $TFCORE_DATA_DIR, then the cache", flag_values=values)
    string("logdir", None, "output: the run directory; default logs/<recipe>/<changes>", flag_values=values)
    flags.DEFINE_boolean("clean", False, "output: start over instead of resuming", flag_values=values)
    flags.DEFINE_boolean("histograms", False, "more output: histograms of weights and gradients", flag_values=values)
    text = "more output: profile steps such as 100:110, with the whole blocks of steps_per_loop that they are in"
    string("profile", None, text, flag_values=values)
    text = "more training: look at every operation of every step and name the first that is not finite; slow"
    flags.DEFINE_boolean("check_numerics", False, text, flag_values=values)
    text = "more training: devices that share each batch: of this machine, or of all workers of TF_CONFIG"
    usual = "multi_worker where TF_CONFIG is set, else none"
    enum("strategy", None, distribution.STRATEGIES, f"{text} [{usual}]")
    enum("jit", "auto", ["auto", "on", "off"], "more training: compile with XLA; auto: as measured best")
    chosen = recipes.RECIPES[_typed("recipe") or default]
    for name, (kind, text, part) in FIELDS.items():
        size = "x".join(map(str, chosen.model.image_shape[:2]))
        value = size if name == "image_size" else _shown(getattr(_part(chosen, part), name, ""))
        kind(name=name, default=None, help=f"{text} [{value}]", flag_values=values)


def _typed(name):
    """Returns what the command line says of a flag, before it is parsed, so that --help shows that recipe's values."""
    found = [a.partition("=")[2] for a in sys.argv[1:] if a.startswith(f"--{name}=")]
    return found[-1] if found and found[-1] in recipes.RECIPES else None


def _part(recipe, part):
    """Returns the recipe, its network's configuration (a transfer's: its head's), or its augmentation."""
    value = getattr(recipe, part) if part else recipe
    return value.head if isinstance(value, transfer.Config) else value


def named(name, values):
    """Returns the recipe of that name as this processor runs it best, unless --precision says how; prints a change."""
    recipe = recipes.RECIPES[name]
    if values.precision or recipe == recipes.on_this_processor(recipe):
        return recipe
    print("precision float32: this processor has no instructions for the recipe's bfloat16; --precision chooses")
    return recipes.on_this_processor(recipe)


def define_start(values):
    """Defines --init_from, --teacher and --temperature."""
    text = "what: an export (.safetensors, a SavedModel), a checkpoint or a run whose weights to start from"
    flags.DEFINE_string("init_from", None, text, flag_values=values)
    text = "more training: a run of another network whose word for each picture to learn, in place of the labels"
    flags.DEFINE_string("teacher", None, text, flag_values=values)
    text = "more training: that the teacher's logits and the network's are divided by"
    flags.DEFINE_float("temperature", assemble.TEMPERATURE, text, flag_values=values)


def changed_recipe(recipe, values, **model):
    """Returns `recipe` with the flags that were given, and `model`, further fields of its network's configuration."""
    given = {name: values[name].value for name in FIELDS if values[name].value is not None}
    if "hidden" in given:
        given["hidden"] = integers("hidden", given["hidden"])
    size = given.pop("image_size", None)
    parts = {part: {n: v for n, v in given.items() if FIELDS[n][2] == part} for part in ("", "model", "augment")}
    if values.jit != "auto":
        parts[""]["jit"] = values.jit == "on"
    try:
        network = dataclasses.replace(_part(recipe, "model"), **parts["model"], **model)
        if isinstance(recipe.model, transfer.Config):
            network = dataclasses.replace(recipe.model, head=network)
        if size:
            network = with_image_size(network, size)
        augment = dataclasses.replace(recipe.augment, **parts["augment"])
        return dataclasses.replace(recipe, **parts[""], model=network, augment=augment)
    except (ValueError, TypeError) as error:
        raise usage_error(str(error)) from None


def with_image_size(config, size):
    """Returns a network's configuration for pictures of --image_size=HxW."""
    sides = integers("image_size", size.lower().split("x"))
    if len(sides) != 2:
        raise usage_error(f"--image_size={size} must be HxW, such as 150x150")
    if isinstance(config, transfer.Config):
        return dataclasses.replace(config, trunk=with_image_size(config.trunk, size))
    return dataclasses.replace(config, image_shape=(*sides, config.image_shape[2]))


def logdir_of(values, recipe, base, **more):
    """Returns the run directory: --logdir, or logs/<recipe>/<set>-<what differs from `base`>-seed<seed>.

    more: further settings that make it another run, those that are not None.
    """
    if values.logdir:
        return Path(values.logdir).expanduser()
    before, now = (tree.flatten(recipes.to_dict(r)) for r in (base, recipe))
    skip = {"dataset", "seed", "max_bad_fraction", *MAY_CHANGE}
    skip -= {"epochs"} if recipe.schedule != "constant" else set()
    changes = {key.split("/")[-1]: value for key, value in now.items() if before.get(key) != value and key not in skip}
    if "image_shape" in changes:
        changes["image_size"] = "x".join(map(str, changes.pop("image_shape")[:2]))
    if "blocks" in changes:
        filters = [channels for block in changes.pop("blocks") for channels in block]
        changes["filters"] = filters[:1] if len(set(filters)) == 1 else filters
    more["check_numerics"] = values.check_numerics or None
    changes |= {name: value for name, value in more.items() if value is not None}
    parts = [f"{name}{_shown(value)}" for name, value in sorted(changes.items())]
    return Path("logs") / recipe.name / "-".join([recipe.dataset, *parts, f"seed{recipe.seed}"])


def _shown(value):
    """Returns a value for a name or a help text: (64, 128) as 64,128."""
    if isinstance(value, list | tuple):
        return ",".join(map(_shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def options_of(values):
    """Returns what the flags say of a run beside its recipe: arguments of `run.train`."""
    options = {name: values[name].value for name in ("clean", "histograms", "check_numerics")}
    return {**options, "profile": window_of(values.profile)}


def window_of(text):
    """Returns --profile=100:110 as (100, 110); None for None."""
    if text is None:
        return None
    if not (match := re.fullmatch(r"(\d+):(\d+)", text, re.ASCII)):
        raise usage_error(f"--profile={text} must be two steps with a colon between, such as 100:110")
    return int(match[1]), int(match[2])


def train(values, recipe, base, note=""):
    """Trains `recipe`, in --logdir or where its differences from the named recipe `base` put it."""
    if values["temperature"].present and not values.teacher:
        raise usage_error("--temperature is a teacher's: name one with --teacher")
    sources = {name: values[name].value for name in ("init_from", "teacher")}
    logdir = logdir_of(
        values, recipe, base,
        temperature=values.temperature if values.teacher else None,
        **{name: Path(path).name if path else None for name, path in sources.items()},
    )  # fmt: skip
    if values.data_dir:  # config.json and the export hold the note: where files lie on this machine is not part of it
        note = note.replace(f"in {values.data_dir}", "in --data_dir")
    with replay_as_command(), distribution.started(strategy_of(values)) as strategy:
        options = {"strategy": strategy, "temperature": values.temperature, **sources, **options_of(values)}
        return recipes.train(recipe, logdir, data_dir=values.data_dir, note=note, **options)


def strategy_of(values):
    """Returns --strategy; without it "multi_worker" where TF_CONFIG is set, as `launch.py` does, else "none"."""
    return values.strategy or ("multi_worker" if os.environ.get("TF_CONFIG") else "none")


@contextlib.contextmanager
def replay_as_command():
    """Makes of "run.replay(task, 'logs/x')", in the error of a run that is not finite, the command that does it."""

    def command(match):
        return f"python scripts/replay.py --run={shlex.quote(ast.literal_eval(match[1]))}"

    try:
        yield
    except FloatingPointError as error:
        text = re.sub(r"run\.replay\(task, ('.*?'|\".*?\")\)", command, str(error))
        raise FloatingPointError(text) from None
