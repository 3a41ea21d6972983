"""Repeats the runs that the README reports and writes the README's table.

python scripts/reproduce.py --recipes=mnist_perceptron,fashion_cnn --seeds=0,1,2
python scripts/reproduce.py --table                                   # only the table, from docs/results.json

Each run adds or replaces its row in docs/results.json. A run that was cut goes on; one that is complete is read.
"""

import flags

import dataclasses
import json
import subprocess
from pathlib import Path

import numpy as np
from absl.flags import DEFINE_boolean, DEFINE_list, DEFINE_string
from tables import splice

from tfcore import files, recipes
from tfcore.run.environment import environment

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results.json"
README = ROOT / "README.md"
BEGIN, END = "<!-- results: python scripts/reproduce.py --table -->", "<!-- end of results -->"

# What the post reports, and what this project set out to reach; the test accuracy.
POSTS = {
    "mnist_perceptron": ("0.9475", 0.977),
    "mnist_perceptron_best": ("“more epochs can get to 99%”", 0.990),
    "fashion_cnn": ("0.9006", 0.893),
    "fashion_cnn_best": ("0.9006", 0.930),
    "fashion_cnn128": ("–", None),
    "digits_cnn128": ("–", None),
    "fashion_deep_cnn": ("0.9137", 0.910),
    "fashion_deep_cnn_best": ("0.9137", 0.925),
    "fashion_perceptron": ("0.9137, by a CNN", 0.9137),
    "pets_perceptron": ("random guessing", None),
    "pets_cnn24": ("0.57–0.61, Pearson 0.152", 0.570),
    "pets_cnn48": ("0.61, Pearson 0.21", 0.614),
    "pets_cnn128": ("0.67, Pearson 0.30", 0.67),
    "pets_cnn64_128": ("0.75, Pearson 0.42", 0.75),
    "pets_cnn64_128_best": ("0.75", 0.84),
    "pets_cnn150": ("curves only", 0.667),
    "pets_cnn150_augmented": ("curves only", None),
    "pets_cnn150_best": ("curves only", 0.88),
    "pets_best": ("–", 0.93),
}


def define(values):
    """Defines the flags."""
    more = {"flag_values": values}
    DEFINE_list("recipes", [], f"what: which to run, of {', '.join(POSTS)}", **more)
    DEFINE_list("seeds", ["0"], "what: the seeds to run each recipe with", **more)
    DEFINE_string("data_dir", None, "what: where the data is; default $TFCORE_DATA_DIR, then the cache", **more)
    DEFINE_string("logdir", "logs/reproduce", "output: where the runs land: <logdir>/<recipe>-seed<seed>", **more)
    DEFINE_boolean("table", False, "output: only write the table", **more)


def main(values, _):
    """Runs every recipe with every seed, adding each row as it comes, then writes the table."""
    unknown = [name for name in values.recipes if name not in POSTS]
    if unknown or not (values.recipes or values.table):
        raise flags.usage_error(f"--recipes={','.join(unknown)}: name some of {', '.join(POSTS)}")
    for name in values.recipes:
        for seed in [int(s) for s in values.seeds if s.isdigit() or flags.integers("seeds", [s])]:
            print(f"\n{name}, seed {seed}")
            recipe = dataclasses.replace(recipes.RECIPES[name], seed=seed)
            result = recipes.train(recipe, Path(values.logdir) / f"{name}-seed{seed}", data_dir=values.data_dir)
            add_row(row(name, seed, result))
    write_table()


def row(name, seed, result):
    """Returns what docs/results.json keeps of a run."""
    config = json.loads((result.run_dir / "config.json").read_text())
    return {
        "recipe": name,
        "seed": seed,
        "dataset": config["dataset"],
        "test_accuracy": result.test["accuracy"],
        "test_loss": round(result.test["loss"], 4),
        "validation_accuracy": result.validation["accuracy"],
        **({"pearson": round(result.test["pearson"], 3)} if "pearson" in result.test else {}),
        "epochs": result.epochs,
        "minutes": round(result.seconds / 60, 2),
        "machine": environment()["machine"],
        "commit": commit(),
    }


def commit():
    """Returns the commit of this checkout, with a + when the code differs from it."""
    git = ["git", "-C", str(ROOT)]
    name, changes = (
        subprocess.run(git + arguments, capture_output=True, text=True, check=False).stdout.strip()
        for arguments in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--", "tfcore", "scripts"])
    )
    return (name or "unknown") + ("+" if changes else "")


def add_row(new):
    """Adds the row to docs/results.json in place of an older one of the same recipe and seed."""
    RESULTS.parent.mkdir(exist_ok=True)
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    made = {"machine": new["machine"], "commit": new["commit"]}
    if any({**old, **made} == new for old in rows):  # a complete run was only read: it is of the older commit
        return
    rows = [old for old in rows if (old["recipe"], old["seed"]) != (new["recipe"], new["seed"])] + [new]
    order = list(recipes.RECIPES)
    rows.sort(key=lambda r: (order.index(r["recipe"]) if r["recipe"] in order else len(order), r["seed"]))
    files.write_text(RESULTS, "[\n" + ",\n".join("  " + json.dumps(r) for r in rows) + "\n]\n")


def table():
    """Returns the table of the posts' results beside ours, in Markdown."""
    rows = json.loads(RESULTS.read_text())
    lines = [
        "| recipe | post | aim | ours, test accuracy | validation | Pearson | seeds | epochs | minutes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(r["recipe"] for r in rows):
        mine = [r for r in rows if r["recipe"] == name]
        accuracy = np.array([r["test_accuracy"] for r in mine])
        spread = f" ± {accuracy.std(ddof=1):.4f}" if len(mine) > 1 else ""
        post, aim = POSTS.get(name, ("–", None))
        seeds = ", ".join(str(r["seed"]) for r in mine)
        minutes = np.mean([r["minutes"] for r in mine])
        held_out = np.mean([r["validation_accuracy"] for r in mine])
        pearson = f"{np.mean([r['pearson'] for r in mine]):.2f}" if "pearson" in mine[0] else "–"
        cells = [f"`{name}`", post, aim or "–", f"**{accuracy.mean():.4f}**{spread}", f"{held_out:.4f}", pearson]
        lines.append(f"| {' | '.join(map(str, [*cells, seeds, mine[0]['epochs'], f'{minutes:.1f}']))} |")
    machines = ", ".join(sorted({r["machine"] for r in rows}))
    commits = ", ".join(sorted({r["commit"] for r in rows}))
    return "\n".join(
        [*lines, "", f"Mean ± standard deviation over the seeds. Machine: {machines}. Commits: {commits}."]
    )


def write_table():
    """Puts the table between its two marks in the README, and prints it."""
    files.write_text(README, splice(README.read_text(), BEGIN, END, table()))
    print(f"\n{table()}")


if __name__ == "__main__":
    flags.start(main, define)
