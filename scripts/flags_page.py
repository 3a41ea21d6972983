"""Writes the tables of docs/flags.md from the flags that the scripts define.

python scripts/flags_page.py
"""

import flags

import re
from pathlib import Path

import compare
import doctor
import eject
import evaluate
import export
import export_table
import launch
import predict
import replay
import reproduce
import show_convolutions
import show_mechanics
import show_transfer
import sweep
import sweep_values
from tables import markdown as table, splice

from tfcore import files

PAGE = Path(__file__).parent.parent / "docs" / "flags.md"
BEGIN, END = "<!-- flags: python scripts/flags_page.py -->", "<!-- end of flags -->"
TRAINING = sweep_values.SCRIPTS
OTHERS = (
    compare, doctor, eject, evaluate, export, export_table, launch, predict, replay, reproduce, show_convolutions,
    show_mechanics, show_transfer, sweep,
)  # fmt: skip


def main(_, arguments):
    """Puts the tables between the page's marks."""
    files.write_text(PAGE, splice(PAGE.read_text(), BEGIN, END, page()))
    print(f"wrote {PAGE}")


def page():
    """Returns the tables in Markdown: one for each group of the training scripts' flags, one for each other script."""
    scripts = [flags.parser(script.define) for script in TRAINING]
    rows = {}
    for name in sorted({name for values in scripts for name in flags.own_names(values)}):
        flag = next(values[name] for values in scripts if name in values)
        group = flags.parts_of_help(flag)[1].removeprefix("more ")
        rows.setdefault(group, []).append([*described(flag), *(default(values, name) for values in scripts)])
    lines = ["## Training", "", *table(["script", "recipes, the usual one first"], [recipes_of(s) for s in TRAINING])]
    heads = ["flag", "meaning", *(f"`{script.__name__}.py`" for script in TRAINING)]
    for group in flags.GROUPS:
        lines += ["", f"### {group.capitalize()}", "", *table(heads, rows[group])]
    for script in OTHERS:
        values = flags.parser(script.define)
        passed_on = sweep_values.of_scripts() if script is sweep else ()  # they stand in the tables above
        names = [name for name in flags.own_names(values) if name not in passed_on]
        chosen = [[*described(values[name]), default(values, name)] for name in names]
        lines += ["", f"## {script.__name__}.py", "", *table(["flag", "meaning", "default"], chosen)]
    return "\n".join(lines)


def described(flag):
    """Returns the flag as it is typed, and its meaning with its choices."""
    choices, _, text = flags.parts_of_help(flag)
    text = re.sub(r" \[[^]]*\]$", "", text).partition(", by default")[0]  # which differs between scripts
    if choices and flag.name != "recipe":
        text += ": " + ", ".join(f"`{choice}`" for choice in choices.split("|"))
    return [f"`--[no]{flag.name}`" if flag.boolean else f"`--{flag.name}`", text.replace("<", r"\<")]


def default(values, name):
    """Returns the default of a flag, that of the script's usual recipe where it has one; "–" without the flag."""
    if name not in values:
        return "–"
    shown = re.search(r" \[([^]]*)\]$", values[name].help)
    value = shown[1] if shown else (values[name].default_as_str or "").strip("'")
    return {"true": "on", "false": "off"}.get(value.lower(), value)


def recipes_of(script):
    """Returns the script's name and its recipes."""
    values = flags.parser(script.define)
    usual = re.search(r"by default (\w+)", values["recipe"].help)[1]
    names = [usual, *(name for name in script.NAMES if name != usual)]
    return [f"`{script.__name__}.py`", ", ".join(f"`{name}`" for name in names)]


if __name__ == "__main__":
    flags.start(main, lambda values: None)
