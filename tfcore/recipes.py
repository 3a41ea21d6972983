"""Every run that has a name, as a value."""

import dataclasses

from tfcore.data.augment import Augment
from tfcore.models import cnn, inception_v3, mixer, mlp, resnet, transfer

MODELS = {
    "mlp": mlp,
    "mixer": mixer,
    "cnn": cnn,
    "resnet": resnet,
    "inception_v3": inception_v3,
    "transfer": transfer,
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All of a run in one value; two runs of one recipe on one machine end with the same bits.

    dataset: a name of tfcore.data.datasets.NAMES.
    model: the configuration of a network; its type says which.
    loss: "softmax_cross_entropy", "sigmoid_cross_entropy" or "sigmoid_mse".
    label_smoothing: the fraction of a target that is spread over the classes.
    optimizer: "adam", "adamw", "rmsprop", "momentum", "nesterov" or "sgd".
    learning_rate, schedule, warmup_epochs: "constant", or "cosine" down to 0 at the last step; a linear rise first.
    weight_decay: of adamw, relative to the learning rate.
    clip_norm: the largest global norm of the gradients; 0 does not clip.
    ema_decay: of the average of the weights, which then is what is evaluated; 0 keeps none.
    batch_size, epochs: one epoch is one pass; steps_per_epoch above 0 cuts it short.
    validation: how many training examples are held out.
    validation_steps: batches of them that are looked at after each epoch, other ones each time; 0 for all.
    train_examples: how many of the rest to train on; 0 for all.
    patience: epochs without a better validation accuracy before the run stops; 0 never stops early.
    report: which weights are tested and exported, of the "last" epoch or of the "best" (validation accuracy).
    resize: how pictures of other proportions are brought to the network's: "stretch", "crop" or "pad".
    max_bad_fraction: of a set of pictures, how many may be unusable, 0 to 1.
    scale, offset: a stored pixel p, 0 .. 255, is read as p scale + offset.
    augment: the random changes of the training images.
    progressive: (side, epochs) pairs: so many first epochs see training images made so small, which costs less; the
      rest sees them as they are (Tan & Le, arXiv:2104.00298). For networks that take any size.
    view_flip, view_shift: test on the mean of the logits over the mirror image, and over all shifts by up to so many
      pixels; the validation of each epoch sees the picture alone.
    precision: "float32", or "bfloat16" for activations; weights and loss stay float32.
    jit: compile the loop with XLA.
    steps_per_loop: steps in one call of the graph.
    seed: of all that is random.
    """

    name: str
    dataset: str
    model: mlp.Config | mixer.Config | cnn.Config | resnet.Config | inception_v3.Config | transfer.Config
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
    progressive: tuple[tuple[int, int], ...] = ()
    view_flip: bool = False
    view_shift: int = 0
    precision: str = "float32"
    jit: bool = False
    steps_per_loop: int = 50
    seed: int = 0

    def __post_init__(self):
        """Raises ValueError: a setting is outside its range."""
        positive = ("batch_size", "epochs", "steps_per_loop", "learning_rate", "validation")
        for name in positive + (
            "steps_per_epoch",
            "validation_steps",
            "patience",
            "clip_norm",
            "warmup_epochs",
            "weight_decay",
            "view_shift",
        ):
            value = getattr(self, name)
            if value < 0 or (name in positive and value == 0):
                raise ValueError(f"--{name}={value} must be {'positive' if name in positive else 'at least 0'}")
        for name in ("label_smoothing", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"--{name}={getattr(self, name)} must be in [0, 1)")
        if not 0 <= self.max_bad_fraction <= 1:
            raise ValueError(f"--max_bad_fraction={self.max_bad_fraction} must be between 0 and 1")
        if any(side < 1 or epochs < 1 for side, epochs in self.progressive):
            raise ValueError(f"progressive={self.progressive} must be pairs of a side and a number of epochs")
        if self.weight_decay and self.optimizer != "adamw":
            raise ValueError(f"--weight_decay={self.weight_decay} needs --optimizer=adamw, not {self.optimizer}")


def model_of(recipe):
    """Returns the module of the recipe's network: its `init` and `forward`."""
    return MODELS[_kind(recipe.model)]


def _kind(config):
    return next(kind for kind, module in MODELS.items() if isinstance(config, module.Config))


def to_dict(recipe):
    """Returns the recipe as JSON values."""
    return {**dataclasses.asdict(recipe), "model": _config_to_dict(recipe.model)}


def _config_to_dict(config):
    """Returns a network's configuration as JSON values; "kind" says which network, also of one inside another."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    inside = {name: _config_to_dict(value) for name, value in values.items() if dataclasses.is_dataclass(value)}
    return {"kind": _kind(config), **values, **inside}


def _config_from_dict(values):
    values = {name: _config_from_dict(v) if isinstance(v, dict) else v for name, v in values.items()}
    return MODELS[values.pop("kind")].Config(**values)


def from_dict(values):
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


_fashion_cnn = Recipe("fashion_cnn", "fashion_mnist", cnn.Config(hidden_activation="linear"))
_fashion_deep = Recipe(
    "fashion_deep_cnn",
    "fashion_mnist",
    cnn.Config(blocks=((64, 32), (32, 16), (16, 8)), padding="SAME", hidden=(128,)),
    batch_size=32,
    epochs=7,
    steps_per_loop=100,
)
_mnist = Recipe("mnist_perceptron", "mnist", mlp.Config(), batch_size=100, epochs=15, jit=True, steps_per_loop=110)

_pets_inception = Recipe(
    "pets_inception",
    "cats_vs_dogs",
    transfer.Config(),
    loss="sigmoid_cross_entropy",
    learning_rate=1e-4,
    batch_size=32,
    epochs=15,
    steps_per_epoch=100,
    validation=1024,
    augment=Augment(shift=0.2, shear=0.2, zoom=0.2),
)

_SMALL_SHIFTS = Augment(shift=0.05, flip=True, whole_pixels=True)  # one pixel of 28 each way
_our_training = {
    "optimizer": "adamw",
    "weight_decay": 0.05,
    "schedule": "cosine",
    "learning_rate": 2e-3,
    "warmup_epochs": 1.0,
    "label_smoothing": 0.05,
    "ema_decay": 0.999,
    "augment": _SMALL_SHIFTS,
    "view_flip": True,
    "view_shift": 1,
    "precision": "bfloat16",
}
_mnist_best = dataclasses.replace(
    _mnist,
    name="mnist_perceptron_best",
    epochs=60,
    schedule="cosine",
    learning_rate=2e-3,
    ema_decay=0.999,
    augment=Augment(shift=0.08, rotation=10.0, zoom=0.1, shear=8.0),
)
_fashion_cnn_best = dataclasses.replace(
    _fashion_cnn,
    name="fashion_cnn_best",
    model=dataclasses.replace(_fashion_cnn.model, dropout=0.1),
    epochs=80,
    validation=1000,
    scale=1 / (255 * 0.353),  # Fashion-MNIST's pixels have mean 0.286 and standard deviation 0.353
    offset=-0.286 / 0.353,
    **_our_training,
)
_fashion_deep_best = dataclasses.replace(
    _fashion_deep, name="fashion_deep_cnn_best", batch_size=64, **{**_our_training, "epochs": 14}
)
_fashion_perceptron = Recipe(
    "fashion_perceptron",
    "fashion_mnist",
    mixer.Config(),
    batch_size=128,
    epochs=16,
    validation=1000,
    scale=1 / (255 * 0.353),
    offset=-0.286 / 0.353,
    **{**_our_training, "learning_rate": 3e-3},
)
_pets_perceptron = Recipe(
    "pets_perceptron",
    "cats_vs_dogs",
    mlp.Config(image_shape=(125, 94, 3), hidden=(512,), init="glorot_uniform"),
    loss="sigmoid_mse",
    learning_rate=1e-5,
    batch_size=32,
    epochs=10,
    validation=1024,
    train_examples=4096,
    scale=1.0,
    steps_per_loop=32,
)


def _pets_cnn(filters, hidden, **changes):
    """Returns a recipe of the first pets post: raw pixels and a learning rate that fits them."""
    return dataclasses.replace(
        _pets_perceptron,
        **{
            "name": f"pets_cnn{'_'.join(map(str, filters))}",
            "model": cnn.Config(
                image_shape=(125, 94, 3), blocks=tuple((f,) for f in filters), hidden=hidden, init="glorot_uniform"
            ),
            "loss": "sigmoid_cross_entropy",
            "learning_rate": 1e-6,
            "batch_size": 64,
            "epochs": 15,
            "steps_per_loop": 8,
            **changes,
        },
    )


_pets_cnn64_128 = _pets_cnn((64, 128), (512, 512))
_pets_cnn150 = Recipe(
    "pets_cnn150",
    "cats_vs_dogs",
    cnn.Config(image_shape=(150, 150, 3), blocks=((32,), (64,), (128,)), hidden=(128, 512), init="glorot_uniform"),
    loss="sigmoid_cross_entropy",
    batch_size=32,
    epochs=15,
    steps_per_epoch=100,
    validation=1024,
    validation_steps=50,
    steps_per_loop=20,
)
_pets_training = {
    "label_smoothing": 0.1,
    "optimizer": "adamw",
    "weight_decay": 0.1,
    "schedule": "cosine",
    "learning_rate": 2e-3,
    "warmup_epochs": 3.0,
    "ema_decay": 0.998,
    "batch_size": 64,
    "validation": 1024,
    "validation_steps": 0,
    "scale": 1 / 64,  # the pixels of photographs have mean 118 and standard deviation 66
    "offset": -1.9,
    "augment": Augment(
        shift=0.1, zoom=0.25, rotation=12.0, shear=6.0, flip=True, brightness=0.1, contrast=0.2, fill="reflect"
    ),
    "view_flip": True,
    "precision": "bfloat16",
    "steps_per_loop": 8,
}
# The wider pools leave 4,480 and 2,048 features where 2x2 leaves 81,664 and 36,992, most of which only see noise.
_pets_body = {"batch_norm": True, "hidden_norm": True, "dropout": 0.3, "init": "he_normal"}
_pets_cnn64_128_best = dataclasses.replace(
    _pets_cnn64_128,
    name="pets_cnn64_128_best",
    model=dataclasses.replace(_pets_cnn64_128.model, pool=4, **_pets_body),
    **{**_pets_training, "epochs": 70},
)
_pets_cnn150_best = dataclasses.replace(
    _pets_cnn150,
    name="pets_cnn150_best",
    model=dataclasses.replace(_pets_cnn150.model, pool=3, **_pets_body),
    steps_per_epoch=0,
    **{**_pets_training, "epochs": 45},
)
_pets_best = dataclasses.replace(
    _pets_cnn150_best,
    name="pets_best",
    model=dataclasses.replace(_pets_cnn150_best.model, blocks=((48,), (96,), (192,))),
    epochs=64,
)
_PETS = (
    _pets_perceptron,
    _pets_cnn((24,), (128, 128), batch_size=32, epochs=5),
    _pets_cnn((48, 48), (256, 256), name="pets_cnn48"),
    _pets_cnn((128, 128), (256, 256), name="pets_cnn128"),
    _pets_cnn64_128,
    _pets_cnn64_128_best,
    _pets_cnn150,
    dataclasses.replace(
        _pets_cnn150, name="pets_cnn150_augmented", augment=Augment(shift=0.2, shear=0.2, zoom=0.2, fill="nearest")
    ),
    _pets_cnn150_best,
    _pets_best,
    dataclasses.replace(
        _pets_cnn150_best, name="folder_cnn", dataset="folder", loss="softmax_cross_entropy", precision="float32"
    ),
    _pets_inception,
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        _mnist,
        _mnist_best,
        _fashion_cnn,
        _fashion_cnn_best,
        _fashion_deep,
        _fashion_deep_best,
        _fashion_perceptron,
        *_PETS,
    )
}
