"""Writes docs/licences.md: what an installation of tfcore brings along, and under which licences.

python scripts/licences.py
"""

import flags

import importlib.metadata
import re
from pathlib import Path

from tfcore import files

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "licences.md"
NEEDS = re.compile(r"^\s*([A-Za-z0-9_.-]+)", re.MULTILINE)
EXTRA = re.compile(r"""extra == ["'](\w+)""")
LONGEST = 60  # of a licence's name; some packages put the whole text there
HEAD = """# What is installed, and its licences

tfcore itself is under the Apache License 2.0 (LICENSE). `make train` installs it with the packages below, each in the
version of constraints.txt, from PyPI; what each says of its licence is copied from its own metadata, which its wheel
holds whole. Packages of the group "tests" serve tests and lint only, those of "sweep" scripts/sweep.py only. What the
extra "profile" brings is not among them. No package is changed, and none is part of this repository. This page is
written by `python scripts/licences.py`.

| package | version | licence, as it says | wanted by |
|---|---|---|---|
"""


def main(values, _):
    """Writes the page from the metadata of the packages that are installed."""
    rows = [row(name, version) for name, version in pinned()]
    files.write_text(PAGE, HEAD + "\n".join(rows) + "\n")
    print(f"wrote {PAGE.relative_to(ROOT)}: {len(rows)} packages")


def pinned():
    """Returns (name, version) of each line of constraints.txt."""
    return [tuple(line.split("==")) for line in (ROOT / "constraints.txt").read_text().split()]


def row(name, version):
    """Returns the row of a package. Raises ValueError: it is not installed, or in another version."""
    try:
        found = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        raise ValueError(f"{name} is not installed: run make test, then the Python of .venv") from None
    if found["Version"] != version:
        raise ValueError(f"{name} {found['Version']} is installed, constraints.txt wants {version}")
    return f"| {name} | {version} | {licence(found) or of_its_file(name)} | {wanted_by(name)} |"


def licence(metadata):
    """Returns what metadata say of a licence: the SPDX expression, a short name, or the classifiers; else ""."""
    text = metadata.get("License-Expression") or (metadata.get("License") or "").strip()
    if text not in ("", "UNKNOWN") and len(text) <= LONGEST and "\n" not in text:
        return text
    classifiers = [line for line in metadata.get_all("Classifier") or [] if line.startswith("License ::")]
    named = ", ".join(line.split(" :: ")[-1] for line in classifiers)
    return named or re.sub(r"\s+", " ", text)[:LONGEST]


def of_its_file(name):
    """Returns the title of the licence that a package brings along as a file, where its metadata name none."""
    for path in importlib.metadata.files(name) or []:
        if "licen" in path.name.lower() or "copying" in path.name.lower():
            title = re.search(r"\b(Apache|MIT|BSD|Mozilla Public)[\w ,-]*Licen[cs]e[\w .]*", path.read_text())
            return f"{title[0][:LONGEST] if title else 'of its own'} (its file {path.name})"
    return "none is named"


def wanted_by(name):
    """Returns "tfcore", the name of its extra ("tests" for dev), or the first of the packages that want it."""
    own = [text for text in importlib.metadata.requires("tfcore") or [] if normal(NEEDS.match(text)[1]) == normal(name)]
    if own:
        extras = [EXTRA.search(text) for text in own]
        named = {extra[1] for extra in extras if extra} - {"dev"}
        return "tfcore" if None in extras else ", ".join(sorted(named)) or "tests"
    others = [other for other, _ in pinned() if normal(name) in needs(other)]
    return ", ".join(others[:3])


def needs(name):
    """Returns the normal names of what a package wants, without its extras."""
    wanted = [text for text in importlib.metadata.requires(name) or [] if "extra ==" not in text]
    return {normal(NEEDS.match(text)[1]) for text in wanted}


def normal(name):
    """Returns a package's name as PyPI compares them."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    flags.start(main, lambda values: None)
