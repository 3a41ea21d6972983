"""What is always so in an ejected program, and not where its functions come from: which data they see.

Images are uint8, labels int32 of shape [N], all shapes but that of a last batch are known, what layers and losses take
are tensors, seeds are two numbers. So some expressions of tfcore are equal to shorter ones there.
"""

from tfcore import layers, losses, optimizers, tree
from tfcore.data import order
from tfcore.init import as_seed
from tfcore.models import cnn, inception_v3, mixer, mlp, transfer
from tfcore.recipes import assemble

TENSORS = (layers.dense, layers.conv2d, layers._pool, layers.global_avg_pool, layers.flatten, layers.batch_norm,
           layers.dropout, mixer.forward)  # fmt: skip
# What docstrings say of other programs.
UNTRUE = {
    "; a sparse gradient is made dense": "",
    ", or without a top the features [N, H', W', C']": "",
    ", or [N, C] probabilities": "",
    ", and the learning rate it uses": "",
    "; None returns x as it is": "",
    ", off without a seed and outside training": "",
    ", or `stats` itself when not training": "",
    "each weight whose path `decays`": "each weight that is multiplied with data, `.../w`",
}


def equal(recipe):
    """Returns {function: {expression: what it is equal to in the program of a recipe}}."""
    return {
        **{function: {"tf.convert_to_tensor(x)": "x"} for function in TENSORS},
        **of_seeds(recipe.model),
        **of_layers(recipe.model),
        losses.softmax_cross_entropy: {
            "(tf.convert_to_tensor(logits), tf.convert_to_tensor(labels))": "(logits, labels)",
            "labels.shape.rank == 1": "True",
            "tf.cast(labels, tf.int32)": "labels",
            "tf.cast(target, logits.dtype)": "target",
        },
        losses._columns: {"(tf.convert_to_tensor(values), tf.convert_to_tensor(labels))": "(values, labels)"},
        order.preprocess: {"tf.convert_to_tensor(images)": "images", **of_pixels(recipe)},
        assemble.make_optimizer: {"(optimizer, rate)": "optimizer"},
        **of_trees(),
        **of_trunk(recipe),
        **of_optimizer(recipe),
    }


def of_seeds(model):
    """Returns what is so of seeds: they are there, in the form that TensorFlow takes."""
    facts = {
        as_seed: {
            "isinstance(seed, (int, np.integer))": "False",
            "tf.convert_to_tensor(seed)": "seed",
            "seed.shape == [] and seed.dtype.is_integer": "False",
        },
        layers.dropout: {"tf.convert_to_tensor(x)": "x", "seed is None": "False"},
    }
    masks = {cnn.Config: cnn._drop, mlp.Config: mlp.forward, transfer.Config: mlp.forward}
    return facts | ({masks[type(model)]: {"seed is not None": "True"}} if type(model) in masks else {})


def of_layers(model):
    """Returns what is so of layers: sizes are numbers, shapes are known, and who has a bias or a scale."""
    tensor = {"tf.convert_to_tensor(x)": "x"}
    dense = {"'b' in weights": "True"} if not getattr(model, "hidden_norm", False) else {}
    conv2d = {}
    if isinstance(model, cnn.Config) and (model.batch_norm or all(len(block) == 1 for block in model.blocks)):
        conv2d = {"'b' in weights": "False"}  # it is added elsewhere
    scale = {"'scale' in weights": "True"} if isinstance(model, cnn.Config) else {}
    return {
        layers._normalized: scale,
        layers._gain_and_shift: scale,
        layers.dense: tensor | dense,
        layers.conv2d: tensor | {"_pair(stride)": "stride"} | conv2d,
        layers._pool: tensor | {"_pair(size)": "size", "_pair(stride)": "stride"},
        layers.flatten: tensor | {"columns is None": "False", "x.shape[0] is None": "False"},
    }


def of_pixels(recipe):
    """Returns what is so of `preprocess`; a head on a trained trunk reads features, which are no integers."""
    facts = {} if isinstance(recipe.model, transfer.Config) else {"images.dtype.is_floating": "False"}
    if recipe.precision == "float32":
        result = "x + offset if offset else x"
        facts |= {f"tf.cast({result}, dtype)": result}
    return facts


def of_trees():
    """Returns what is so of dictionaries: TensorFlow goes through them as `tree.map` does."""
    return {
        tree.zeros_like: {"map": "tf.nest.map_structure"},
        tree.variables: {"map": "tf.nest.map_structure"},
        optimizers._zip: {"dense(other[path])": "other[path]"},
    }


def of_trunk(recipe):
    """Returns what is so of a trained trunk: it is frozen, its batch norms are folded into its convolutions."""
    weights = "tree.map(lambda w: tf.cast(w, dtype), weights)"
    if recipe.precision == "float32":
        facts = {weights: "weights", "tf.cast(logits, tf.float32)": "logits"}
    else:
        facts = {weights: weights.replace("tree.map", "tf.nest.map_structure")}
    return {
        assemble.make_forward: {"training": "False", **facts},
        inception_v3.endpoints: {"tf.convert_to_tensor(x)": "x"},
        inception_v3._unit: {"'norm' not in weights": "True"},
    }


def of_optimizer(recipe):
    """Returns what is so of weights and rates: float32; and, where no path tells which weights decay, in any order."""
    varies = recipe.schedule != "constant" or recipe.warmup_epochs
    facts = {
        optimizers.rate_at: {"callable(learning_rate)": str(bool(varies))},
        optimizers.adamw: {"tf.cast(rate, g.dtype)": "rate"},
    }
    if recipe.optimizer != "adam" or recipe.ema_decay or recipe.clip_norm:
        return facts
    trees, slots = (
        "weights, grads, slots['m'], slots['v']",
        "{'m': tree.zeros_like(weights), 'v': tree.zeros_like(weights)}",
    )
    facts[optimizers.adamw] |= {
        f"_zip({trees})": f"zip(*map(tf.nest.flatten, ({trees})))",
        "Optimizer(init, update)": f"(lambda weights: {slots}, update)",
        **({} if varies else {"rate_at(learning_rate, step)": "learning_rate"}),
    }
    return facts
