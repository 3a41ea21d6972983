"""Every public function of tfcore says the types of its arguments and of its result."""

import importlib
import inspect
import pkgutil

import tfcore


def public(space, module):
    """Yields (name, function) of what a module has written into a namespace, its classes' methods too."""
    for name, value in vars(space).items():
        if name.startswith("_") and name != "__init__":
            continue
        if inspect.isclass(value) and value.__module__ == module.__name__:
            yield from ((f"{name}.{method}", function) for method, function in public(value, module))
        function = written(value)
        if inspect.isfunction(function) and function.__code__.co_filename == module.__file__:
            yield name, function


def written(value):
    """Returns the function behind a property, a class method or a decorator."""
    for kind, attribute in ((property, "fget"), (classmethod, "__func__")):
        value = getattr(value, attribute) if isinstance(value, kind) else value
    value = getattr(value, "func", value)  # of a cached property
    return inspect.unwrap(value) if callable(value) else None


def untyped(function):
    """Returns the names of the arguments that have no type, and "return" where the result has none."""
    signature = inspect.signature(function)
    names = [
        name for name, p in signature.parameters.items() if p.annotation is p.empty and name not in ("self", "cls")
    ]
    return names + ["return"] * (signature.return_annotation is signature.empty)


def all_public():
    """Returns {"tfcore.layers.dense": its function}, of all of tfcore."""
    modules = [importlib.import_module(info.name) for info in pkgutil.walk_packages(tfcore.__path__, "tfcore.")]
    found = {f"{module.__name__}.{name}": function for module in modules for name, function in public(module, module)}
    return {name: function for name, function in found.items() if function.__name__ != "<lambda>"}


def test_public_functions_say_their_types():
    found = all_public()
    assert {name: names for name, f in found.items() if (names := untyped(f))} == {}
    assert len(found) > 470
    assert {"tfcore.layers.dense", "tfcore.files.durable", "tfcore.check.functions.gradient"} <= set(found)
    methods = {"data.augment.Augment.moves", "run.progress.Progress.of", "run.loop.Stopped.__init__"}
    assert {f"tfcore.{name}" for name in methods | {"distribution.Team.total"}} <= set(found)


def test_what_has_no_type_is_found():
    def function(x, y: int = 0, *args, z):
        pass

    assert untyped(function) == ["x", "args", "z", "return"]
