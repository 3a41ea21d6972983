"""Writes the reference of all public names of tfcore, from their docstrings, as pages of HTML.

python scripts/reference.py
"""

import flags

import pkgutil
from pathlib import Path

from absl.flags import DEFINE_string

import tfcore

ROOT = Path(__file__).parent.parent


def define(values):
    """Defines the flags."""
    DEFINE_string("to", str(ROOT / "build" / "reference"), "output: the directory to write into", flag_values=values)


def main(values, _):
    """Writes a page for each module, and the list of modules."""
    import pdoc

    pdoc.render.configure(docformat="google", show_source=True)
    modules = [module.name for module in pkgutil.walk_packages(tfcore.__path__, "tfcore.")]
    pdoc.pdoc("tfcore", *modules, output_directory=Path(values.to))
    print(f"wrote {values.to}/index.html")


if __name__ == "__main__":
    flags.start(main, define)
