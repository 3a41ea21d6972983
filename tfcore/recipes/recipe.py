"""The schema of a recipe: all of a run in one value, its checks, and its JSON."""

import dataclasses
from typing import Any

from tfcore import losses, models, optimizers, settings
from tfcore.data.augment import Augment
from tfcore.models import cnn, inception_v3, mixer, mlp, transfer

CHOICES = {
    "loss": tuple(losses.LOSSES),
    "optimizer": tuple(optimizers.OPTIMIZERS),
    "precision": ("float32", "bfloat16"),
    "report": ("last", "best"),
    "resize": ("stretch", "crop", "pad"),
    "schedule": ("constant", "cosine"),
}
_POSITIVE_INTEGERS = ("batch_size", "epochs", "steps_per_loop", "validation")
_INTEGERS = (
    "steps_per_epoch",
    "validation_steps",
    "train_examples",
    "patience",
    "view_shift",
    "augment_copies",
    "seed",
)
_NOT_NEGATIVE = ("clip_norm", "warmup_epochs", "weight_decay", "scale")
RUN = (
    "epochs", "batch_size", "seed", "steps_per_epoch", "steps_per_loop", "validation_steps", "patience", "report",
    "jit",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All of a run in one value; two runs of one recipe on one machine end with the same bits.

    dataset: a name of tfcore.data.sources.NAMES.
    model: the configuration of a network; its type says which.
    loss: "softmax_cross_entropy", "sigmoid_cross_entropy" or "sigmoid_mse".
    label_smoothing: the fraction of a target that is spread over the classes.
    optimizer: "adam", "adamw", "rmsprop", "momentum", "nesterov" or "sgd".
    learning_rate, schedule, warmup_epochs: "constant", or "cosine" down to 0 at the last step; a linear rise first.
    weight_decay: of adamw, relative to the learning rate.
    clip_norm: the largest global norm of the gradients; 0 does not clip.
    ema_decay: of the average of the weights, which then is what is evaluated; 0 keeps none.
    batch_size, epochs: one epoch is one pass; steps_per_epoch above 0 cuts it short, or has several passes.
    validation: how many training examples are held out.
    validation_steps: batches of them that are looked at after each epoch, other ones each time; 0 for all.
    train_examples: how many of the rest to train on; 0 for all.
    patience: epochs without a better validation accuracy before the run stops; 0 never stops early.
    report: which weights are tested and exported, of the "last" epoch or of the "best" (validation accuracy).
    resize: how pictures of other proportions are brought to the network's: "stretch", "crop" or "pad".
    max_bad_fraction: of a set of pictures, how many may be unusable, 0 to 1.
    scale, offset: a stored pixel p, 0 .. 255, is read as p scale + offset.
    augment: the random changes of the training images.
    augment_copies: of a frozen trunk: of how many variants of each training picture features are kept; 0 runs the trunk
      in each step.
    view_flip, view_shift: test on the mean of the logits over the mirror image, and over all shifts by up to so many
      pixels; the validation of each epoch sees the picture alone.
    precision: "float32", or "bfloat16" for activations; weights and loss stay float32.
    jit: compile the loop with XLA.
    steps_per_loop: steps in one call of the graph.
    seed: of all that is random.
    """

    name: str
    dataset: str
    model: mlp.Config | mixer.Config | cnn.Config | inception_v3.Config | transfer.Config
    loss: str = "softmax_cross_entropy"
    label_smoothing: float = 0.0
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    schedule: str = "constant"
    warmup_epochs: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    batch_size: int = 64
    epochs: int = 10
    steps_per_epoch: int = 0
    validation_steps: int = 0
    validation: int = 5000
    train_examples: int = 0
    patience: int = 0
    report: str = "last"
    resize: str = "stretch"
    max_bad_fraction: float = 0.05
    scale: float = 1 / 255
    offset: float = 0.0
    augment: Augment = Augment()
    augment_copies: int = 1
    view_flip: bool = False
    view_shift: int = 0
    precision: str = "float32"
    jit: bool = False
    steps_per_loop: int = 50
    seed: int = 0

    def __post_init__(self):
        """Raises ValueError: a setting is outside its range."""
        for name in _POSITIVE_INTEGERS + _INTEGERS:
            settings.integer(name, getattr(self, name), least=int(name in _POSITIVE_INTEGERS))
        for name in _NOT_NEGATIVE:
            settings.not_negative(name, getattr(self, name))
        settings.positive("learning_rate", self.learning_rate)
        for name, allowed in CHOICES.items():
            settings.one_of(name, getattr(self, name), allowed)
        for name in ("label_smoothing", "ema_decay"):
            settings.fraction(name, getattr(self, name))
        most = self.max_bad_fraction
        settings.require(0 <= most <= 1, "max_bad_fraction", most, "must be between 0 and 1")
        models.name_of(self.model)
        if self.weight_decay and self.optimizer != "adamw":
            raise ValueError(f"weight_decay={self.weight_decay} needs optimizer=adamw, not {self.optimizer}")
        if self.label_smoothing and self.loss == "sigmoid_mse":
            raise ValueError(f"label_smoothing={self.label_smoothing} needs a cross-entropy, not loss={self.loss}")


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """Returns the recipe as JSON values, without what the run is told apart: the config of its task.

    The number of epochs is part of it where the learning rate depends on it.
    """
    apart = [name for name in RUN if not (name == "epochs" and recipe.schedule != "constant")]
    return {name: value for name, value in to_dict(recipe).items() if name not in apart}


def plan(recipe: Recipe) -> dict[str, Any]:
    """Returns the arguments of `run.train` that a recipe says."""
    return {name: getattr(recipe, name) for name in RUN}


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """Returns the recipe as JSON values."""
    return {**dataclasses.asdict(recipe), "model": _config_to_dict(recipe.model)}


def _config_to_dict(config):
    """Returns a network's configuration as JSON values; "kind" says which network, also of one inside another."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    inside = {name: _config_to_dict(value) for name, value in values.items() if dataclasses.is_dataclass(value)}
    return {"kind": models.name_of(config), **values, **inside}


def _config_from_dict(values):
    values = {name: _config_from_dict(v) if isinstance(v, dict) else v for name, v in values.items()}
    return models.MODELS[values.pop("kind")].Config(**values)


def from_dict(values: dict[str, Any]) -> Recipe:
    """Returns the recipe that `to_dict` wrote.

    Raises:
      ValueError: the values are not a recipe's.
    """
    try:
        values = _tuples(values)
        model, augment = _config_from_dict(values["model"]), Augment(**values["augment"])
        return Recipe(**{**values, "model": model, "augment": augment})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a recipe of this version of tfcore ({error})") from None


def _tuples(value):
    """Returns JSON's lists as tuples, at every level."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value
