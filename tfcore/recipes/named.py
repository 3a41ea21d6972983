"""Every run that has a name, as a value. Values, and nothing else."""

import dataclasses

from tfcore.data.augment import Augment
from tfcore.models import cnn, inception_v3, mixer, mlp, transfer
from tfcore.recipes.recipe import Recipe

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

_fashion_cnn128 = dataclasses.replace(
    _fashion_cnn,
    name="fashion_cnn128",
    model=cnn.Config(blocks=((128,), (128,)), hidden=(256, 256), init="glorot_uniform"),
)
_digits_cnn128 = dataclasses.replace(_fashion_cnn128, name="digits_cnn128", dataset="digits")
_pets_inception = Recipe(
    "pets_inception",
    "cats_vs_dogs",
    transfer.Config(),
    loss="sigmoid_cross_entropy",
    label_smoothing=0.1,
    optimizer="adamw",
    weight_decay=0.05,
    schedule="cosine",
    learning_rate=2e-4,
    warmup_epochs=0.4,
    batch_size=64,
    epochs=6,
    validation=2048,
    augment=Augment(shift=0.1, zoom=0.2, rotation=8.0, flip=True),
    augment_copies=2,
    precision="bfloat16",
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
    batch_size=250,
    epochs=160,
    schedule="cosine",
    learning_rate=3e-3,
    ema_decay=0.999,
    augment=Augment(shift=0.06, rotation=8.0, zoom=0.08, shear=6.0, elastic=0.025),
    view_shift=1,
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
# What reaches the posts' accuracies soonest, with their networks: larger batches, and a learning rate that falls.
_sooner = {"schedule": "cosine", "batch_size": 128, "learning_rate": 3e-3, "warmup_epochs": 0.3}
_mnist_fast = dataclasses.replace(
    _mnist, name="mnist_perceptron_fast", **{**_sooner, "batch_size": 200, "learning_rate": 4e-3, "epochs": 3}
)
_fashion_cnn_fast = dataclasses.replace(
    _fashion_cnn, name="fashion_cnn_fast", **{**_sooner, "epochs": 3, "precision": "bfloat16"}
)
_fashion_deep_fast = dataclasses.replace(
    _fashion_deep, name="fashion_deep_cnn_fast", **{**_sooner, "epochs": 6, "precision": "bfloat16"}
)
_fashion_mixer = Recipe(
    "fashion_mixer",
    "fashion_mnist",
    mixer.Config(),
    batch_size=128,
    epochs=16,
    validation=1000,
    scale=1 / (255 * 0.353),
    offset=-0.286 / 0.353,
    **{**_our_training, "learning_rate": 3e-3},
)
_fashion_perceptron = dataclasses.replace(
    _fashion_mixer,
    name="fashion_perceptron",
    model=mlp.Config(hidden=(1024, 1024, 1024), dropout=0.2),
    validation=5000,
    batch_size=256,
    epochs=60,
    learning_rate=1e-3,
    label_smoothing=0.1,
    augment=Augment(shift=0.05, zoom=0.05, elastic=0.015, flip=True),
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
_pets_cnn150_fast = dataclasses.replace(
    _pets_cnn150,
    name="pets_cnn150_fast",
    augment=Augment(flip=True),
    validation_steps=0,
    **{**_sooner, "batch_size": 64, "learning_rate": 1e-3, "epochs": 6, "precision": "bfloat16"},
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
    train_examples=0,
    **{**_pets_training, "epochs": 32},
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
    model=dataclasses.replace(_pets_cnn150_best.model, blocks=((48,), (96,), (192, 192))),
    epochs=30,
    validation=2048,
)
_pets_inception_best = dataclasses.replace(
    _pets_inception,
    name="pets_inception_best",
    model=transfer.Config(
        inception_v3.Config(top=False, endpoint="mixed5"), mlp.Config((1, 1, 768), (), 1, dropout=0.2),
        pool_features=True, learns_from="mixed0",
    ),
    augment_copies=0,
    **{
        **{name: value for name, value in _pets_training.items() if name not in ("scale", "offset")},
        "learning_rate": 3e-4, "weight_decay": 0.05, "warmup_epochs": 0.5, "epochs": 8, "validation": 2048,
    },
)  # fmt: skip
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
    _pets_cnn150_fast,
    _pets_best,
    dataclasses.replace(
        _pets_cnn150_best, name="folder_cnn", dataset="folder", loss="softmax_cross_entropy", precision="float32"
    ),
    _pets_inception,
    _pets_inception_best,
    dataclasses.replace(_pets_inception, name="folder_inception", dataset="folder", epochs=15, augment_copies=1),
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        _mnist,
        _mnist_best,
        _mnist_fast,
        _fashion_cnn,
        _fashion_cnn_best,
        _fashion_cnn_fast,
        _fashion_cnn128,
        _digits_cnn128,
        _fashion_deep,
        _fashion_deep_best,
        _fashion_deep_fast,
        _fashion_perceptron,
        _fashion_mixer,
        *_PETS,
    )
}
