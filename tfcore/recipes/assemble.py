"""From a recipe to its Task: optimizer, forward pass, loss and augmentation as functions."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfcore import losses, metrics, models, optimizers, processor, run, schedules, tree
from tfcore.data import augment, datasets
from tfcore.data.order import batch_indices, preprocess
from tfcore.data.splits import Splits
from tfcore.models import transfer
from tfcore.quiet import tf
from tfcore.recipes.recipe import Recipe, plan, settings_of
from tfcore.showing import warn
from tfcore.types import Forward, Inference, LearningRate, LossFn, Seed, Tensor, Tree

TEMPERATURE = 2.0  # of what a teacher says


def train(
    recipe: Recipe,
    logdir: str | Path,
    *,
    splits: Splits | None = None,
    data_dir: str | Path | None = None,
    init_from: str | Path | None = None,
    teacher: str | Path | None = None,
    temperature: float = TEMPERATURE,
    **options: Any,
) -> run.Result:
    """Loads the recipe's set, unless `splits` are given, and trains it in `logdir`. Returns a `run.Result`.

    Args:
      init_from: an export, a checkpoint or a run whose weights to start from, as in `exports.start_from`; None draws.
      teacher: a run whose word to learn, at a temperature, as in `teaching.taught`; None learns the labels.
      options: `clean`, `histograms`, as in `run.train`; errors are those of `load_data` and `run.train`.
    """
    if models.module_of(recipe.model) is transfer:
        raise ValueError(f"{recipe.name} starts from a trained network: use scripts/train_transfer.py or stages.train")
    splits = load_data(recipe, data_dir) if splits is None else splits
    given: dict[str, Any] = {}
    if init_from:
        from tfcore.recipes import exports  # here, because it reads with what is built from this module

        start = exports.start_from(init_from, recipe, splits)
        given = {"init": start.init, "config": {"init_from": start.digest()}}
    learning = task(recipe, splits, **given)
    if teacher:
        from tfcore.recipes import teaching

        learning = teaching.taught(learning, teaching.load_teacher(teacher, splits, temperature=temperature))
    return run.train(learning, logdir, **plan(recipe), **options)


def task(
    recipe: Recipe,
    splits: Splits,
    *,
    init: Callable[[Seed], tuple[Tree, Tree]] | None = None,
    config: dict[str, Any] | None = None,
    pictures: Splits | None = None,
) -> run.Task:
    """Returns the `run.Task` of a recipe on its data.

    Args:
      init: (seed) -> weights, stats, where they are not drawn as the network says.
      config: JSON values that make this run another one, beside the recipe's settings.
      pictures: as in `run.Task`.
    Raises:
      ValueError: the recipe does not fit the data.
    """
    recipe = fit_to_data(recipe, splits)
    if recipe != on_this_processor(recipe):
        warn("precision=bfloat16 is slow: this processor has no instructions for it; float32 takes a tenth of the time")
    network = models.module_of(recipe.model)
    optimizer, rate = make_optimizer(recipe, len(splits.train.labels))
    loss, forward = losses.LOSSES[recipe.loss], make_forward(recipe)
    return run.Task(
        splits,
        init or functools.partial(network.init, config=recipe.model),
        forward,
        loss,
        optimizer,
        name=recipe.name,
        config={**settings_of(recipe), **(config or {})},
        learns=network.learns(recipe.model),
        augment=functools.partial(augment.apply, recipe.augment) if recipe.augment.changes else None,
        loss_fn=smoothed(recipe, forward, loss) if recipe.label_smoothing else None,
        test_forward=mean_over_views(recipe, forward) if recipe.view_flip or recipe.view_shift else None,
        learning_rate=rate,
        pictures=pictures,
    )


def load_data(recipe: Recipe, data_dir: str | Path | None = None) -> Splits:
    """Returns the recipe's set in three splits. Arguments and errors are those of `tfcore.data.load`."""
    return datasets.load(
        recipe.dataset,
        data_dir,
        validation=recipe.validation,
        train_examples=recipe.train_examples,
        image_size=recipe.model.image_shape[:2],
        resize=recipe.resize,
        max_bad_fraction=recipe.max_bad_fraction,
        seed=recipe.seed,
    )


def fit_to_data(recipe: Recipe, splits: Splits) -> Recipe:
    """Returns the recipe with its network's input and output made to fit the data.

    Raises:
      ValueError: a sigmoid loss meets more than two classes, or the views are shifted out of the picture.
    """
    count = len(splits.class_names)
    if recipe.loss.startswith("sigmoid") and count != 2:
        raise ValueError(
            f"loss={recipe.loss} tells two classes apart, {splits.name} has {count}: take softmax_cross_entropy"
        )
    classes = 1 if recipe.loss.startswith("sigmoid") else count
    shape = tuple(int(side) for side in splits.train.images.shape[1:])
    if recipe.view_shift >= min(shape[:2]):
        raise ValueError(f"view_shift={recipe.view_shift} must be below the side of a picture, {min(shape[:2])}")
    return dataclasses.replace(
        recipe,
        dataset=splits.name,
        model=models.module_of(recipe.model).fit(recipe.model, image_shape=shape, classes=classes),
    )


def on_this_processor(recipe: Recipe) -> Recipe:
    """Returns the recipe, in float32 where it says bfloat16 and the processor has no instructions for that."""
    return recipe if processor.has_bfloat16() else dataclasses.replace(recipe, precision="float32")


def make_optimizer(recipe: Recipe, examples: int) -> tuple[optimizers.Optimizer, LearningRate]:
    """Returns the recipe's optimizer with its schedule, clipping and average, and the learning rate it uses."""
    peak = recipe.learning_rate
    rate: LearningRate = peak
    if recipe.schedule == "cosine" or recipe.warmup_epochs:
        steps = recipe.steps_per_epoch or len(batch_indices(recipe.seed, 0, examples, recipe.batch_size))
        final = 0.0 if recipe.schedule == "cosine" else peak
        warmup = int(recipe.warmup_epochs * steps)
        rate = schedules.cosine(peak, recipe.epochs * steps, warmup_steps=warmup, final=final)
    options = {"weight_decay": recipe.weight_decay} if recipe.optimizer == "adamw" else {}
    optimizer = optimizers.OPTIMIZERS[recipe.optimizer](rate, **options)
    if recipe.clip_norm:
        optimizer = optimizers.clipped(optimizer, recipe.clip_norm)
    if recipe.ema_decay:
        optimizer = optimizers.averaged(optimizer, recipe.ema_decay)
    return optimizer, rate


def make_forward(recipe: Recipe) -> Forward:
    """Returns forward(weights, stats, images, *, training, seed=None) -> logits, new_stats; images are as stored."""
    network, dtype = models.module_of(recipe.model), tf.as_dtype(recipe.precision)

    def forward(weights, stats, images, *, training, seed=None):
        x = preprocess(images, scale=recipe.scale, offset=recipe.offset, dtype=dtype)
        weights = tree.map(lambda w: tf.cast(w, dtype), weights)
        logits, new_stats = network.forward(recipe.model, weights, stats, x, training=training, seed=seed)
        return tf.cast(logits, tf.float32), new_stats

    return forward


def smoothed(recipe: Recipe, forward: Forward, loss: Callable[..., Tensor]) -> LossFn:
    """Returns the loss_fn that minimizes the smoothed loss and reports the plain one, as validation and test do."""

    def loss_fn(weights, stats, batch, seed):
        images, labels = batch
        logits, new_stats = forward(weights, stats, images, training=True, seed=seed)
        plain = tf.reduce_mean(loss(logits, labels))
        minimized = tf.reduce_mean(loss(logits, labels, label_smoothing=recipe.label_smoothing))
        return minimized, ({"loss": plain, "accuracy": metrics.accuracy(logits, labels)}, new_stats)

    return loss_fn


def mean_over_views(recipe: Recipe, forward: Inference, *, at_once: bool = False) -> Forward:
    """Returns `forward` with the mean of the logits over the views of a picture that the recipe names.

    at_once: all views of a batch are one batch, where memory does not matter and a loop would not be taken.
    """
    count = (1 + recipe.view_flip) * (2 * recipe.view_shift + 1) ** 2

    def mean_forward(weights, stats, images, *, training=False, seed=None):
        shown = augment.views(images, flip=recipe.view_flip, shift=recipe.view_shift)

        def one(view):
            return forward(weights, stats, view, training=False)[0]

        if at_once:
            logits = one(shown)
            return tf.reduce_mean(tf.reshape(logits, [count, -1, logits.shape[-1]]), axis=0), stats
        shown = tf.reshape(shown, [count, -1, *images.shape[1:]])  # one after the other, so that memory is that of one
        logits = tf.map_fn(one, shown, fn_output_signature=tf.float32, parallel_iterations=1)
        return tf.reduce_mean(logits, axis=0), stats

    return mean_forward


def tested_forward(recipe: Recipe, *, at_once: bool = False) -> Forward:
    """Returns `make_forward`, with the mean over the views where the recipe names some: what a run is tested with."""
    forward = make_forward(recipe)
    seen = recipe.view_flip or recipe.view_shift
    return mean_over_views(recipe, forward, at_once=at_once) if seen else forward
