"""From a recipe to the functions of its run: optimizer, forward pass, loss, the compiled block of steps."""

import dataclasses
import functools
import math

from tfcore import losses, metrics, optimizers, recipes, schedules, training, tree
from tfcore.data import augment, datasets
from tfcore.data.order import preprocess
from tfcore.quiet import tf

LOSSES = {
    "softmax_cross_entropy": losses.softmax_cross_entropy,
    "sigmoid_cross_entropy": losses.sigmoid_cross_entropy,
    "sigmoid_mse": losses.sigmoid_mse,
}


def make_optimizer(recipe, steps_per_epoch):
    """Returns the recipe's optimizer with its schedule, clipping and average, and the learning rate it uses."""
    rate = recipe.learning_rate
    if recipe.schedule == "cosine" or recipe.warmup_epochs:
        total, warmup = recipe.epochs * steps_per_epoch, int(recipe.warmup_epochs * steps_per_epoch)
        final = 0.0 if recipe.schedule == "cosine" else rate
        rate = schedules.cosine(rate, total, warmup_steps=warmup, final=final)
    makers = {
        "sgd": optimizers.sgd,
        "momentum": optimizers.momentum,
        "nesterov": functools.partial(optimizers.momentum, nesterov=True),
        "rmsprop": optimizers.rmsprop,
        "adam": optimizers.adam,
        "adamw": functools.partial(optimizers.adamw, weight_decay=recipe.weight_decay),
    }
    optimizer = makers[recipe.optimizer](rate)
    if recipe.clip_norm:
        optimizer = optimizers.clipped(optimizer, recipe.clip_norm)
    if recipe.ema_decay:
        optimizer = optimizers.averaged(optimizer, recipe.ema_decay)
    return optimizer, rate


def make_forward(recipe):
    """Returns forward(weights, stats, images, *, training, seed=None) -> logits, new_stats; images are as stored."""
    model, dtype = recipes.model_of(recipe), tf.as_dtype(recipe.precision)

    def forward(weights, stats, images, *, training, seed=None):
        x = preprocess(images, scale=recipe.scale, offset=recipe.offset, dtype=dtype)
        weights = tree.map(lambda w: tf.cast(w, dtype), weights)
        logits, new_stats = model.forward(recipe.model, weights, stats, x, training=training, seed=seed)
        return tf.cast(logits, tf.float32), new_stats

    return forward


def make_loss(recipe):
    """Returns the recipe's loss: (logits, labels) -> [N]."""
    if recipe.label_smoothing:
        return functools.partial(LOSSES[recipe.loss], label_smoothing=recipe.label_smoothing)
    return LOSSES[recipe.loss]


def make_loss_fn(recipe):
    """Returns loss_fn(weights, stats, (images, labels), seed) -> loss, (metrics, new_stats), for `train_step`."""
    forward, loss = make_forward(recipe), make_loss(recipe)

    def loss_fn(weights, stats, batch, seed):
        images, labels = batch
        logits, new_stats = forward(weights, stats, images, training=True, seed=seed)
        return tf.reduce_mean(loss(logits, labels)), ({"accuracy": metrics.accuracy(logits, labels)}, new_stats)

    return loss_fn


def make_predict(recipe, *, views=True):
    """Returns predict(weights, stats, images) -> logits [N, C] in NumPy; images uint8 as stored.

    With `views` the logits are means over the views of a picture that the recipe names.
    """
    forward = make_forward(recipe)
    flip, shift = (recipe.view_flip, recipe.view_shift) if views else (False, 0)
    count = (1 + flip) * (2 * shift + 1) ** 2

    @functools.partial(tf.function, jit_compile=recipe.jit or None, autograph=False)
    def mean_logits(weights, stats, images):
        shown = augment.views(images, flip=flip, shift=shift) if count > 1 else images
        logits, _ = forward(weights, stats, shown, training=False)
        return tf.reduce_mean(tf.reshape(logits, [count, -1, logits.shape[-1]]), axis=0), {}

    bound = lambda weights, stats, x, training: mean_logits(weights, stats, x)  # noqa: E731
    most = 2**22 // math.prod(recipe.model.image_shape)  # values in a batch, so that large pictures need no more memory
    size = max(min(most, 500) // count, 1)
    return functools.partial(training.predict, bound, preprocess=tf.convert_to_tensor, batch_size=size)


def make_block(recipe, state, optimizer):
    """Returns run_block(images, labels, draws, count, seed) -> sums of the metrics over `count` steps.

    images: [k, batch_size, H, W, C] as stored, labels: [k, batch_size], draws: [k, batch_size, 9]. It augments the
    images as `draws` say, and takes a step for each of the first `count` rows. With `recipe.jit` the loop is compiled.
    """
    loss_fn, jit = make_loss_fn(recipe), recipe.jit

    def loop(block, count, seed):
        return training.train_loop(state, block, count, seed, loss_fn=loss_fn, optimizer=optimizer, jit=jit)

    loop = tf.function(loop, jit_compile=True, autograph=False) if jit else loop

    def run_block(images, labels, draws, count, seed):
        flat = tf.reshape(images, [-1, *images.shape[2:]])
        flat = augmented(recipe, flat, tf.reshape(draws, [flat.shape[0], -1]))
        return loop((tf.reshape(flat, [*labels.shape, *flat.shape[1:]]), labels), count, seed)

    return training.traced_once(run_block)


def augmented(recipe, images, draws):
    """Returns stored images [N, H, W, C] changed as `draws` [N, 9] say."""
    return augment.apply(recipe.augment, images, draws) if recipe.augment.changes else images


def averaged_weights(recipe, state):
    """Returns the weights to evaluate: the moving average where the recipe keeps one."""
    return tree.merge(state.weights, state.slots["average"]) if recipe.ema_decay else state.weights


def load_data(recipe, data_dir=None):
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


def learns(recipe, weights):
    """Returns the predicate of the weights that learn: all, or what the network itself says."""
    model = recipes.model_of(recipe)
    return model.learns(recipe.model)


def fit_to_data(recipe, splits):
    """Returns the recipe with its network's input and output made to fit the data.

    Raises:
      ValueError: labels lie outside the classes, or a sigmoid loss meets more than two classes.
    """
    count = len(splits.class_names)
    for part in (splits.train, splits.validation, splits.test):
        if len(part.labels) and not 0 <= part.labels.min() <= part.labels.max() < count:
            raise ValueError(f"labels {part.labels.min()} to {part.labels.max()}, but {count} classes")
    if recipe.loss.startswith("sigmoid") and count != 2:
        raise ValueError(f"{recipe.loss} tells two classes apart, {splits.name} has {count}: use softmax_cross_entropy")
    classes = 1 if recipe.loss.startswith("sigmoid") else count
    shape = tuple(splits.train.images.shape[1:])
    fit = getattr(recipes.model_of(recipe), "fit", dataclasses.replace)
    return dataclasses.replace(recipe, model=fit(recipe.model, image_shape=shape, classes=classes))
