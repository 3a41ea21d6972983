"""What the benchmark takes from tfcore's runs: a recipe's network, its training loop, its prediction, its transfer.

The parent makes jobs with it, tfcore's side does them. No other file here knows what a recipe consists of.
"""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

from tfcore import losses, recipes, run, tree
from tfcore.data import Arrays, Splits
from tfcore.init import fold_in
from tfcore.models import cnn, mlp, transfer
from tfcore.recipes import assemble, stages, trunks
from tfcore.run import blocks, loop, report

RECIPES = recipes.RECIPES


def fitted(recipe, part, class_names=("a", "b")):
    """Returns the recipe with its network's input and output made to fit a part of a set."""
    return assemble.fit_to_data(recipe, Splits(part, part, part, class_names, recipe.dataset))


def settings(recipe):
    """Returns what the sides need of a recipe, as JSON values."""
    return {
        "recipe": recipes.to_dict(recipe),
        "loss": "sigmoid" if recipe.loss.startswith("sigmoid") else "softmax",
        **{name: getattr(recipe, name) for name in ("scale", "learning_rate", "batch_size")},
    }


def network(recipe):
    """Returns the layers for the sides: ["conv", channels, activation], ["pool"], ["flatten"], ["dense", ...].

    Raises:
      ValueError: they cannot build it: it is neither a plain perceptron nor a plain CNN.
    """
    config, plain = recipe.model, ("image_shape", "blocks", "hidden", "hidden_activation", "classes", "init")
    given = {field.name: getattr(config, field.name) for field in dataclasses.fields(config) if field.name in plain}
    if not isinstance(config, mlp.Config | cnn.Config) or config != type(config)(**given) or recipe.offset:
        raise ValueError(f"{recipe.name}: the other sides have no network like {config}")
    described, activation = [], given.get("hidden_activation", "relu")
    for block in given.get("blocks", ()):
        described += [*(["conv", channels, "relu"] for channels in block), ["pool"]]
    dense = [["dense", width, activation] for width in config.hidden]
    return [*described, ["flatten"], *dense, ["dense", config.classes, "linear"]]


def first_weights(recipe):
    """Returns a recipe's first weights; of a transfer, its head's."""
    config = recipe.model.head if isinstance(recipe.model, transfer.Config) else recipe.model
    return (mlp if isinstance(config, mlp.Config) else cnn).init(fold_in(0, "init"), config)[0]


def load(job, values):
    """Returns the job's recipe, and the weights of its network with these values."""
    recipe = recipes.from_dict(job["recipe"])
    weights = first_weights(recipe)
    tree.assign(weights, tree.unflatten(dict(zip(tree.flatten(weights), values))))
    return recipe, weights


def trainer(recipe, init, arrays, steps):
    """Returns take(indices) -> the mean loss, as in a run: a thread gathers blocks, one call takes many steps.

    init: (seed) -> weights, stats. indices: [steps, batch_size] rows of `arrays`; the argument `steps` says how many an
    epoch has. Returns also the state that `take` changes.
    """
    part, names = (
        Arrays(*arrays),
        ("a", "b") if recipe.model.classes == 1 else tuple(map(str, range(recipe.model.classes))),
    )
    task = recipes.task(recipe, Splits(part, part, part, names, recipe.dataset), init=init)
    plan = run.Plan(**recipes.plan(recipe))
    plan = plan._replace(steps_per_loop=min(plan.steps_per_loop, steps))
    state = loop.initial_state(task, plan.seed)
    take_block, guard = loop.compiled(task, state, plan)

    pool = ThreadPoolExecutor(1)

    def take(indices):
        total = 0.0
        for count, block in blocks.gathered(part, indices, plan.steps_per_loop, pool):
            total += blocks.take_checked(take_block, guard, block, count)["loss"]
        return total / len(indices)

    return take, state


def predictor(recipe):
    """Returns predict(weights, stats, images) -> logits, as at the end of each epoch, and the recipe's loss."""
    return report.predictor(assemble.make_forward(recipe), recipe.model.image_shape), losses.LOSSES[recipe.loss]


def as_posted(recipe, epochs):
    """Returns a transfer's recipe with the InceptionV3 post's training, so many epochs over unchanged pictures."""
    plain = recipes.Recipe(recipe.name, recipe.dataset, recipe.model, loss=recipe.loss)
    return dataclasses.replace(plain, learning_rate=1e-4, batch_size=32, epochs=epochs)


def train_head(job, images, labels, trunk, logdir):
    """Trains the head of a transfer from pictures to the last epoch; returns the measures of that epoch."""
    recipe, part = recipes.from_dict(job["recipe"]), Arrays(images, labels)
    held = Arrays(images[:64], labels[:64])
    splits = Splits(part, held, held, ("Dog", "Cat"), "cats_vs_dogs")
    trunk = trunks.Trunk(*trunk, trunks.PIXELS["0..1"], "made")
    return stages.train(recipe, logdir, trunk, splits).train


def trunk_forward(job):
    """Returns the trunk's configuration, and its forward(weights, stats, images, *, training)."""
    recipe = recipes.from_dict(job["recipe"])
    config = recipe.model.trunk
    return config, assemble.make_forward(dataclasses.replace(recipe, model=config))
