"""The reference has every public name."""

import ast
from pathlib import Path

import pytest
import reference

from tfcore import files

ROOT = Path(files.__file__).parent


def public_names(path):
    """Returns the functions and classes of a module that are public: its __all__ where it has one."""
    nodes = ast.parse(path.read_text()).body
    for node in nodes:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [name for name in ast.literal_eval(node.value) if name != "tf"]
    found = [node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return [name for name in found if not name.startswith("_")]


@pytest.mark.slow
def test_every_public_name_has_its_place(tmp_path):
    class Values:
        to = tmp_path

    reference.main(Values, [])
    for path in ROOT.rglob("*.py"):
        name = path.relative_to(ROOT.parent).with_suffix("")
        if path.name != "__init__.py":
            page = (tmp_path / name).with_suffix(".html").read_text()
            missing = [each for each in public_names(path) if f'id="{each}"' not in page]
            assert not missing, name
