"""The models: one module each, with a frozen `Config` that checks itself when it is made, and the same four functions.

    fit(config, *, image_shape, classes)                              -> the Config for other pictures and classes
    init(seed, config)                                                -> weights, stats
    forward(config, weights, stats, x, *, training, seed=None)        -> logits, new_stats
    learns(config)                                                    -> the predicate of the paths that are trained

This is the one place where a model's name becomes its module.
"""

from types import ModuleType

from tfcore.models import cnn, inception_v3, mixer, mlp, transfer

MODELS = {"mlp": mlp, "cnn": cnn, "mixer": mixer, "inception_v3": inception_v3, "transfer": transfer}


def name_of(config: object) -> str:
    """Returns the name in MODELS of the model that `config` configures.

    Raises:
      ValueError: it is no model's `Config`.
    """
    for name, module in MODELS.items():
        if isinstance(config, module.Config):
            return name
    raise ValueError(f"a {type(config).__name__} is no model's Config: the models are {', '.join(MODELS)}")


def module_of(config: object) -> ModuleType:
    """Returns the module of the model that `config` configures. Errors are those of `name_of`."""
    return MODELS[name_of(config)]
