"""What the scripts share: a quiet start, the flags, and the exit status.

Exit status: 0 done; 1 a failure, explained in one line on stderr; 2 bad usage; 130 Ctrl-C, 143 SIGTERM.
"""

import dataclasses
import re
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # scripts also run from a clone that is not installed

from absl import flags

from tfcore.quiet import tf  # isort: skip
from tfcore import run, run_dir
from tfcore.data import datasets
from tfcore.init import INITIALIZERS
from tfcore.models import transfer
from tfcore.recipes import CHOICES

FLAGS = flags.FLAGS


def start(main, *, positional=False):
    """Parses the flags, calls main(arguments), and ends the process with the exit status that the module names."""
    flags.DEFINE_boolean("traceback", False, "show where a failure happened")
    signal.signal(signal.SIGTERM, _terminate)
    try:
        arguments = _parse(positional)
        main(arguments)
    except flags.Error as error:
        _end(2, f"{error} (--help lists the flags)")
    except KeyboardInterrupt as stop:
        _end(128 + getattr(stop, "signum", 2), str(stop) or "interrupted")
    except (ValueError, OSError, FloatingPointError, MemoryError, tf.errors.OpError) as error:
        if FLAGS.is_parsed() and FLAGS.traceback:
            raise
        _end(1, str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__)


def _terminate(signum, frame):
    """Ends whatever runs as Ctrl-C would, so that temporary files are removed; training saves a checkpoint first."""
    stop = KeyboardInterrupt("terminated")
    stop.signum = signum
    raise stop


def _parse(positional):
    """Returns the arguments that are not flags."""
    script = sys.modules["__main__"]
    if {"--help", "-h", "--helpfull"} & set(sys.argv[1:]):
        print(f"{script.__doc__.strip()}\n\n{FLAGS.main_module_help()}{FLAGS.module_help(sys.modules[__name__])}")
        raise SystemExit(0)
    arguments = FLAGS(sys.argv)[1:]
    if arguments and not positional:
        raise flags.Error(f"unexpected argument {arguments[0]!r}")
    return arguments


def _end(status, message):
    print(f"{Path(sys.argv[0]).name}: {_as_flags(message)}", file=sys.stderr)
    raise SystemExit(status)


def _as_flags(message):
    """Returns the message with name=value as --name=value, --name or --noname wherever `name` is a flag."""

    def as_flag(match):
        name, value = match.groups()
        if name not in FLAGS:
            return match[0]
        return {"True": f"--{name}", "False": f"--no{name}"}.get(value, f"--{name}={value or ''}")

    return re.sub(r"(?<![\w/.?&-])([a-z]\w*)=(True\b|False\b)?", as_flag, message)


def usage_error(message):
    """Returns the exception that ends a script with status 2."""
    return flags.Error(message)


# What a flag of training sets: a field of the recipe, of its network or of its augmentation. None keeps the recipe's.
RECIPE_FLAGS = (
    ("batch_size", flags.DEFINE_integer, "examples in a step"),
    ("clip_norm", flags.DEFINE_float, "largest global norm of the gradients, 0 for no limit"),
    ("ema_decay", flags.DEFINE_float, "decay of the average of the weights, 0 for none"),
    ("epochs", flags.DEFINE_integer, "passes over the training examples"),
    ("label_smoothing", flags.DEFINE_float, "fraction of a target that is spread over the classes"),
    ("learning_rate", flags.DEFINE_float, "learning rate, at its peak"),
    ("max_bad_fraction", flags.DEFINE_float, "how many pictures may be unusable, 0 to 1"),
    ("patience", flags.DEFINE_integer, "epochs without improvement before stopping, 0 for never"),
    ("seed", flags.DEFINE_integer, "seed of weights, order, dropout and augmentation"),
    ("steps_per_epoch", flags.DEFINE_integer, "steps in an epoch, 0 for all"),
    ("steps_per_loop", flags.DEFINE_integer, "steps in one call of the graph"),
    ("train_examples", flags.DEFINE_integer, "how many examples to train on, 0 for all"),
    ("validation", flags.DEFINE_integer, "training examples held out for validation"),
    ("validation_steps", flags.DEFINE_integer, "batches of them looked at after each epoch, 0 for all"),
    ("view_shift", flags.DEFINE_integer, "test on the mean over all shifts by up to so many pixels"),
    ("warmup_epochs", flags.DEFINE_float, "epochs in which the learning rate rises"),
    ("weight_decay", flags.DEFINE_float, "weight decay of adamw, relative to the learning rate"),
)
RECIPE_CHOICES = (
    ("loss", "loss"),
    ("optimizer", "optimizer"),
    ("precision", "of activations; weights and loss are float32"),
    ("report", "which epoch's weights are tested and exported"),
    ("resize", "how pictures of other proportions are brought to --image_size"),
    ("schedule", "learning rate over the run"),
)
AUGMENT_FLAGS = (
    ("shift", flags.DEFINE_float, "largest shift, as a fraction of the side"),
    ("shear", flags.DEFINE_float, "largest shear, degrees"),
    ("zoom", flags.DEFINE_float, "largest relative change of size"),
    ("rotation", flags.DEFINE_float, "largest rotation, degrees"),
    ("flip", flags.DEFINE_boolean, "mirror left and right"),
    ("brightness", flags.DEFINE_float, "largest change of brightness, as a fraction of the range"),
    ("contrast", flags.DEFINE_float, "largest relative change of contrast"),
)


def define_training_flags(default_recipe, names):
    """Defines the flags of a training script; `names` are the recipes it offers."""
    flags.DEFINE_enum("recipe", None, names, f"the run to start from, by default {default_recipe}")
    flags.DEFINE_enum(
        "dataset", None, ["auto", *datasets.NAMES], "the set to train on; auto: mnist if at hand, else digits"
    )
    flags.DEFINE_string("data_dir", None, "where its files are; default $TFCORE_DATA_DIR, then the user's cache")
    flags.DEFINE_string("logdir", None, "the run directory; default logs/<recipe>/<what differs from it>")
    flags.DEFINE_boolean("clean", False, "start over instead of resuming")
    flags.DEFINE_boolean("view_flip", None, "test on the mean over the picture and its mirror image")
    flags.DEFINE_boolean("histograms", False, "write histograms of weights and gradients each epoch")
    flags.DEFINE_enum("jit", "auto", ["auto", "on", "off"], "compile with XLA; auto: as measured best for the recipe")
    flags.DEFINE_enum("init", None, sorted(INITIALIZERS), "initializer of the weights")
    flags.DEFINE_float("dropout", None, "drop probability of the dense layers")
    flags.DEFINE_list("hidden", None, "widths of the dense layers before the logits, such as 256,256")
    flags.DEFINE_string("image_size", None, "HxW that pictures of various sizes are brought to, such as 150x150")
    for name, define, text in RECIPE_FLAGS + AUGMENT_FLAGS:
        define(name, None, text)
    for name, text in RECIPE_CHOICES:
        flags.DEFINE_enum(name, None, CHOICES[name], text)
    flags.DEFINE_enum("fill", None, ["nearest", "constant", "reflect"], "what augmentation puts outside the picture")


def integers(name, values):
    """Returns the list flag --name as a tuple of positive integers."""
    try:
        numbers = tuple(int(value) for value in values if value != "")
    except ValueError:
        numbers = (0,)
    if any(number < 1 for number in numbers):
        raise usage_error(f"--{name}={','.join(values)} must be positive integers with commas between")
    return numbers


def image_shape(size, shape):
    """Returns `shape` (H, W, C) with the height and width of --image_size=HxW."""
    sides = integers("image_size", size.lower().split("x"))
    if len(sides) != 2:
        raise usage_error(f"--image_size={size} must be HxW, such as 150x150")
    return (*sides, shape[2])


def changed_recipe(recipe, model_changes):
    """Returns `recipe` with the flags that were given and `model_changes`, and the given flags as {name: value}."""
    names = [name for name, *_ in RECIPE_FLAGS + RECIPE_CHOICES] + ["view_flip"]
    given = {name: FLAGS[name].value for name in names if FLAGS[name].value is not None}
    augment = {name: FLAGS[name].value for name, *_ in AUGMENT_FLAGS if FLAGS[name].value is not None}
    augment |= {"fill": FLAGS.fill} if FLAGS.fill else {}
    model = dict(model_changes)
    model |= {name: FLAGS[name].value for name in ("init", "dropout") if FLAGS[name].value is not None}
    model |= {"hidden": integers("hidden", FLAGS.hidden)} if FLAGS.hidden is not None else {}
    model |= {"image_shape": image_shape(FLAGS.image_size, recipe.model.image_shape)} if FLAGS.image_size else {}
    jit = {} if FLAGS.jit == "auto" else {"jit": FLAGS.jit == "on"}
    try:
        recipe = dataclasses.replace(
            recipe,
            **given,
            **jit,
            model=_changed_model(recipe.model, model),
            augment=dataclasses.replace(recipe.augment, **augment),
        )
    except ValueError as error:
        raise usage_error(str(error)) from None
    if "image_shape" in model:
        model["image_size"] = FLAGS.image_size
        del model["image_shape"]
    return recipe, {**given, **augment, **model, **jit}


def _changed_model(model, changes):
    """Returns the network's configuration with changes; those of a transfer are its head's, but for the pictures."""
    if not isinstance(model, transfer.Config):
        return dataclasses.replace(model, **changes)
    head = dataclasses.replace(model.head, **{k: v for k, v in changes.items() if k != "image_shape"})
    shape = changes.get("image_shape", model.image_shape)
    return dataclasses.replace(model, head=head, trunk=dataclasses.replace(model.trunk, image_shape=shape))


def train(recipe, changes):
    """Trains `recipe`, on --dataset if that was given, in --logdir or where its name and `changes` put it."""
    recipe, logdir = place(recipe, changes)
    return run.train(recipe, logdir, data_dir=FLAGS.data_dir, clean=FLAGS.clean, histograms=FLAGS.histograms)


def place(recipe, changes):
    """Returns `recipe` with the set that it will read, and the run directory."""
    dataset = FLAGS.dataset or recipe.dataset
    if dataset == "auto":
        dataset, why = datasets.first_at_hand(("mnist", "digits"), FLAGS.data_dir)
        print(f"--dataset=auto: {dataset} ({why})")
    logdir = FLAGS.logdir or Path("logs") / recipe.name / _run_name(dataset, recipe, changes)
    return dataclasses.replace(recipe, dataset=dataset), Path(logdir).expanduser()


def _run_name(dataset, recipe, changes):
    """Returns "fashion_mnist-filters128-seed0": what tells this run from others of its recipe."""
    skip = {"seed", *run_dir.MAY_CHANGE} - ({"epochs"} if recipe.schedule != "constant" else set())
    parts = [f"{key}{_short(value)}" for key, value in sorted(changes.items()) if key not in skip]
    return "-".join([dataset, *parts, f"seed{recipe.seed}"])


def _short(value):
    """Returns a value for a file name: (64, 128) as 64,128."""
    return str(value).replace(" ", "").replace("(", "").replace(",)", "").replace(")", "")
