"""Repeats the runs of docs/results.md and writes its table, and the rows of it that the README shows.

python scripts/reproduce.py --recipes=mnist_perceptron,fashion_cnn --seeds=0,1,2
python scripts/reproduce.py --recipes=fashion_cnn --sides=keras       # the same network with a plain Keras fit
python scripts/reproduce.py --recipes=fashion_perceptron --teacher=fashion_deep_cnn_best    # trains that one first
python scripts/reproduce.py --recipes=mnist_perceptron --check        # are the rows of the page what comes out?
python scripts/reproduce.py --table                                   # only the tables, from docs/results.json

Each run adds or replaces its row in docs/results.json. A run that was cut goes on; one that is complete is read.
"""

import flags

import dataclasses
import hashlib
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from absl.flags import DEFINE_boolean, DEFINE_list, DEFINE_string
from tables import splice

from tfcore import files, recipes
from tfcore.data.sources import cache_dir
from tfcore.models import transfer
from tfcore.recipes import stages, trunks
from tfcore.recipes.assemble import fit_to_data
from tfcore.run.environment import machine

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results.json"
PAGE, README = ROOT / "docs" / "results.md", ROOT / "README.md"
BEGIN, END = "<!-- results: python scripts/reproduce.py --table -->", "<!-- end of results -->"
ROWS_BEGIN, ROWS_END = "<!-- posts: python scripts/reproduce.py --table -->", "<!-- end of posts -->"

# What the post reports, and what this project set out to reach; the test accuracy.
POSTS = {
    "mnist_perceptron": ("0.9475", 0.977),
    "mnist_perceptron_best": ("“more epochs can get to 99%”", 0.994),
    "fashion_cnn": ("0.9006", 0.893),
    "fashion_cnn_best": ("0.9006", 0.935),
    "fashion_cnn128": ("–", None),
    "digits_cnn128": ("–", None),
    "fashion_deep_cnn": ("0.9137", 0.910),
    "fashion_deep_cnn_best": ("0.9137", 0.933),
    "fashion_perceptron": ("0.9137, by a CNN", 0.9137),
    "fashion_mixer": ("0.9137, by a CNN", 0.92),
    "pets_perceptron": ("random guessing", None),
    "pets_cnn24": ("0.57–0.61, Pearson 0.152", 0.570),
    "pets_cnn48": ("0.61, Pearson 0.21", 0.614),
    "pets_cnn128": ("0.67, Pearson 0.30", 0.67),
    "pets_cnn64_128": ("0.75, Pearson 0.42", 0.75),
    "pets_cnn64_128_best": ("0.75", 0.92),
    "pets_cnn150": ("curves only", 0.667),
    "pets_cnn150_augmented": ("curves only", None),
    "pets_cnn150_best": ("curves only", 0.955),
    "pets_best": ("–", 0.970),
    "pets_inception": ("curves only", 0.900),
    "pets_inception_best": ("curves only", 0.955),
}
# Each post, and of its networks the one that the README shows.
TITLES = {
    "mnist_perceptron": "Image Recognition With Neural Networks Using TensorFlow",
    "fashion_cnn": "Convolutional Neural Networks With TensorFlow In Python, Cory Maklin, 2018",
    "fashion_deep_cnn": "Convolutional Neural Networks with Keras, Eduonix",
    "pets_cnn64_128": (
        "Convolutional Neural Networks: A Python Tutorial Using TensorFlow and Keras, Luciano Strika, 2019"
    ),
    "pets_cnn150": "The mechanics of Convolutional Neural Networks in Tensorflow and Keras, 2020",
}
BITS = ("test_accuracy", "test_loss", "validation_accuracy", "pearson", "epochs")  # of a row, what bits decide


def define(values):
    """Defines the flags."""
    more = {"flag_values": values}
    DEFINE_list("recipes", [], f"what: which to run, of {', '.join(POSTS)}", **more)
    DEFINE_list("seeds", ["0"], "what: the seeds to run each recipe with", **more)
    DEFINE_list("sides", ["tfcore"], "what: whose programs to run, of tfcore, keras", **more)
    DEFINE_string("data_dir", None, "what: where the data is; default $TFCORE_DATA_DIR, then the cache", **more)
    DEFINE_string("weights", None, "what: the trunk of pets_inception, as in train_transfer.py", **more)
    DEFINE_string("teacher", None, "what: a recipe whose run of the same seed teaches the others", **more)
    DEFINE_string("logdir", "logs/reproduce", "output: where the runs land: <logdir>/<recipe>-seed<seed>", **more)
    DEFINE_boolean("table", False, "output: only write the tables", **more)
    DEFINE_boolean("check", False, "output: run again, write nothing, and say which rows differ", **more)


def main(values, _):
    """Runs every recipe with every seed, adding each row as it comes, then writes the tables."""
    unknown = [name for name in values.recipes if name not in POSTS]
    if unknown or not (values.recipes or values.table):
        raise flags.usage_error(f"--recipes={','.join(unknown)}: name some of {', '.join(POSTS)}")
    if values.teacher and values.teacher not in recipes.RECIPES:
        raise flags.usage_error(f"--teacher={values.teacher}: name one of {', '.join(recipes.RECIPES)}")
    if values.teacher and (values.sides != ["tfcore"] or any(map(is_transfer, [*values.recipes, values.teacher]))):
        raise flags.usage_error("--teacher: for tfcore's side, and for networks that are trained as a whole")
    if odd := [side for side in values.sides if side not in SIDES]:
        raise flags.usage_error(f"--sides={','.join(odd)}: choose from {', '.join(SIDES)}")
    if values.check:
        check(values)
        return
    for name in values.recipes:
        for seed in [int(s) for s in values.seeds if s.isdigit() or flags.integers("seeds", [s])]:
            for side in values.sides:
                print(f"\n{name}, seed {seed}, {side}")
                recipe = named(name, seed)
                add_row({**SIDES[side](recipe, values), "machine": machine(), "commit": commit()})
    write_tables()


def named(name, seed):
    """Returns a recipe with another seed, as this processor runs it best."""
    return dataclasses.replace(recipes.on_this_processor(recipes.RECIPES[name]), seed=seed)


def check(values):
    """Runs the rows of some recipes again, and prints which give other figures. Raises ValueError: some do."""
    wanted = [(name, values.teacher) for name in values.recipes]
    rows = [row for row in read_rows() if kind(row) in wanted and row["side"] == "tfcore"]
    different = []
    for old in rows:
        recipe = named(old["recipe"], old["seed"])
        with tempfile.TemporaryDirectory() as place:
            new = ours(recipe, values, Path(place))
        changed = [
            f"{name} {old.get(name)}, now {new[name]}" for name in new if name in BITS and new[name] != old.get(name)
        ]
        print(f"{recipe.name}, seed {recipe.seed}: {'; '.join(changed) or 'as on the page'}")
        different += [f"{recipe.name}, seed {recipe.seed}"] if changed else []
    elsewhere = {row["machine"] for row in rows} - {machine()}
    if different:
        other = f"; the page is of another machine ({', '.join(elsewhere)}), whose bits differ" if elsewhere else ""
        raise ValueError(f"{len(different)} of {len(rows)} rows differ: {'; '.join(different)}{other}")


def ours(recipe, values, place=None):
    """Runs a recipe; returns what docs/results.json keeps of it."""
    place = place or Path(values.logdir) / f"{recipe.name}-seed{recipe.seed}"
    splits = recipes.load_data(recipe, values.data_dir)
    if is_transfer(recipe.name):
        trunk = trunks.load_trunk(recipe.model, values.weights or trunks.published_weights())
        result = stages.train(recipe, place, trunk, splits, cache=cache_dir() / "features")
    else:
        result = recipes.train(recipe, place, splits=splits, teacher=teacher_of(recipe, values, splits))
    made = row("tfcore", recipe, splits, result.test, result.validation, result.epochs, result.seconds)
    return {**made, "teacher": values.teacher} if values.teacher else made


def is_transfer(name):
    """True of a recipe that begins with a trained trunk."""
    return isinstance(recipes.RECIPES[name].model, transfer.Config)


def teacher_of(recipe, values, splits):
    """Returns the run that --teacher names, of the recipe's seed, and trains it where it is not complete; or None."""
    if not values.teacher:
        return None
    place = Path(values.logdir) / f"{values.teacher}-seed{recipe.seed}"
    return recipes.train(named(values.teacher, recipe.seed), place, splits=splits).run_dir


def theirs(recipe, values):
    """Trains a recipe's network with Keras; returns what docs/results.json keeps of it."""
    import keras_side  # here, for it imports Keras

    splits = recipes.load_data(recipe, values.data_dir)
    recipe, began = fit_to_data(recipe, splits), time.perf_counter()
    test, validation = keras_side.train(recipe, splits)
    return row("keras", recipe, splits, test, validation, recipe.epochs, time.perf_counter() - began)


SIDES = {"tfcore": ours, "keras": theirs}


def row(side, recipe, splits, test, validation, epochs, seconds):
    """Returns a row of docs/results.json. test, validation: {"loss", "accuracy", ...}."""
    return {
        "recipe": recipe.name,
        "settings": settings_digest(recipe),
        "side": side,
        "seed": recipe.seed,
        "dataset": splits.name,
        "train_examples": len(splits.train.labels),
        "test_examples": len(splits.test.labels),
        "test_accuracy": test["accuracy"],
        "test_loss": round(test["loss"], 4),
        "validation_accuracy": validation["accuracy"],
        **({"pearson": round(test["pearson"], 3)} if "pearson" in test else {}),
        "epochs": epochs,
        "minutes": round(seconds / 60, 2),
    }


def settings_digest(recipe):
    """Returns a short hash of all that a named recipe says but its seed: of other settings a figure is another one."""
    named = dataclasses.replace(recipes.RECIPES[recipe.name], seed=0)
    return hashlib.sha256(json.dumps(recipes.to_dict(named), sort_keys=True).encode()).hexdigest()[:8]


def commit():
    """Returns the commit of this checkout, with a + when the code differs from it."""
    git = ["git", "-C", str(ROOT)]
    name, changes = (
        subprocess.run(git + arguments, capture_output=True, text=True, check=False).stdout.strip()
        for arguments in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--", "tfcore", "scripts"])
    )
    return (name or "unknown") + ("+" if changes else "")


def add_row(new):
    """Adds the row to docs/results.json in place of an older one of the same recipe and seed.

    Rows that the recipe gave with other settings go: a mean over both would be of neither.
    """
    RESULTS.parent.mkdir(exist_ok=True)
    rows = read_rows() if RESULTS.exists() else []
    made = {"machine": new["machine"], "commit": new["commit"]}
    if any({**old, **made} == new for old in rows):  # a complete run was only read: it is of the older commit
        return
    key = lambda row: (*kind(row), row["side"], row["seed"])  # noqa: E731
    kept = lambda old: old["recipe"] != new["recipe"] or old["settings"] == new["settings"]  # noqa: E731
    rows = [old for old in rows if key(old) != key(new) and kept(old)] + [new]
    order, sides = list(recipes.RECIPES), list(SIDES)
    place = lambda name: order.index(name) if name in order else len(order)  # noqa: E731
    rows.sort(key=lambda r: (place(r["recipe"]), r.get("teacher") or "", sides.index(r["side"]), r["seed"]))
    files.write_text(RESULTS, "[\n" + ",\n".join("  " + json.dumps(r) for r in rows) + "\n]\n")


def kind(row):
    """Returns (recipe, teacher or None) of a row: rows that are alike in it are of one run with several seeds."""
    return row["recipe"], row.get("teacher")


def read_rows():
    """Returns the rows of docs/results.json."""
    return json.loads(RESULTS.read_text())


def mean(rows, name, side="tfcore", teacher=None):
    """Returns the mean test accuracy over the seeds ± their standard deviation; of one seed (± the test's error)."""
    found = [r for r in rows if (kind(r), r["side"]) == ((name, teacher), side)]
    accuracy = [r["test_accuracy"] for r in found]
    if len(found) > 1:
        return f"{np.mean(accuracy):.4f} ± {np.std(accuracy, ddof=1):.4f}"
    return f"{accuracy[0]:.4f} (± {error(found[0]):.4f})" if found else "–"


def error(row):
    """Returns the standard error of a test accuracy p on n examples, (p (1 - p) / n)^1/2."""
    p = row["test_accuracy"]
    return (p * (1 - p) / row["test_examples"]) ** 0.5


def table():
    """Returns the table of the posts' results beside Keras' and ours, in Markdown."""
    rows = read_rows()
    lines = [
        "| recipe | post | aim | Keras here | ours, test accuracy | validation | Pearson | examples | seeds | epochs "
        "| minutes |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, teacher in dict.fromkeys(kind(r) for r in rows if r["side"] == "tfcore"):
        mine = [r for r in rows if (kind(r), r["side"]) == ((name, teacher), "tfcore")]
        post, aim = POSTS.get(name, ("–", None))
        seeds = ", ".join(str(r["seed"]) for r in mine)
        minutes = np.mean([r["minutes"] for r in mine])
        held_out = np.mean([r["validation_accuracy"] for r in mine])
        pearson = f"{np.mean([r['pearson'] for r in mine]):.2f}" if "pearson" in mine[0] else "–"
        shown = f"`{name}`, taught by `{teacher}`" if teacher else f"`{name}`"
        cells = [shown, post, aim or "–", mean(rows, name, "keras"), f"**{mean(rows, name, teacher=teacher)}**"]
        cells += [f"{held_out:.4f}", pearson, f"{mine[0]['train_examples']:,}"]
        lines.append(f"| {' | '.join(map(str, [*cells, seeds, mine[0]['epochs'], f'{minutes:.1f}']))} |")
    machines = ", ".join(sorted({r["machine"] for r in rows}))
    commits = ", ".join(sorted({r["commit"] for r in rows}))
    return "\n".join(
        [
            *lines,
            "",
            "Mean ± standard deviation over the seeds; of one seed, in brackets, the standard error that the number of "
            f"test pictures leaves. “Examples” were trained on. Machine: {machines}. Commits: {commits}.",
        ]
    )


def short_table():
    """Returns the README's rows in Markdown: a network of each post, as the post trains it and with our training."""
    rows = read_rows()
    lines = ["| post | recipe | its accuracy | Keras here | ours | ours, `…_best` |", "|---|---|---|---|---|---|"]
    for name, title in TITLES.items():
        figures = [
            POSTS[name][0].split(",")[0],
            mean(rows, name, "keras"),
            mean(rows, name),
            mean(rows, f"{name}_best"),
        ]
        lines.append(f"| {title} | `{name}` | {' | '.join(figures)} |")
    return "\n".join(lines)


def write_tables():
    """Puts the tables between their marks in docs/results.md and in the README, and prints the first."""
    made = [(PAGE, BEGIN, END, table()), (README, ROWS_BEGIN, ROWS_END, short_table())]
    texts = [(page, splice(page.read_text(), begin, end, content)) for page, begin, end, content in made]
    for page, text in texts:  # both or, where a page lacks its marks, neither
        files.write_text(page, text)
    print(f"\n{table()}")


if __name__ == "__main__":
    flags.start(main, define)
