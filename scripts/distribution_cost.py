"""Measures what it costs to share a batch between workers on this machine, and models on paper many hosts.

python scripts/distribution_cost.py            # writes the tables of docs/distribution.md; wants a quiet machine
python scripts/distribution_cost.py --quick --nowrite --recipes=mnist_perceptron
"""

import flags

import json
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import launch
import numpy as np
from absl.flags import DEFINE_boolean, DEFINE_enum, DEFINE_list
from tables import markdown, splice

from tfcore import distribution, files, recipes, run, tree
from tfcore.data import Arrays, Splits
from tfcore.models import transfer
from tfcore.recipes import RECIPES
from tfcore.recipes.recipe import plan
from tfcore.run import environment, loop
from tfcore.run.progress import Progress

PAGE = Path(__file__).parent.parent / "docs" / "distribution.md"
RESULTS = PAGE.with_suffix(".json")
BEGIN, END = "<!-- cost: python scripts/distribution_cost.py --table -->", "<!-- end of cost -->"
NAMES = [name for name, recipe in RECIPES.items() if not isinstance(recipe.model, transfer.Config)]
SIZES = [2**power for power in range(2, 27, 3)]  # bytes, 4 B to 32 MB
WORKERS, GIGABITS = (1, 2, 4, 8, 16, 32, 64), (1, 10, 100)
SIDES = {"alone": 1, "one": 1, "two": 2}  # workers; "alone" is not distributed


def define(values):
    """Defines the flags."""
    given = {"flag_values": values}
    DEFINE_list("recipes", NAMES, "what: which recipes", **given)
    DEFINE_boolean("quick", False, "what: few repetitions, for a try", **given)
    DEFINE_boolean(
        "write", True, "output: write docs/distribution.json and the tables of docs/distribution.md", **given
    )
    DEFINE_boolean("table", False, "output: write the tables from docs/distribution.json, and measure nothing", **given)
    DEFINE_enum("part", None, ["reductions", *NAMES], "more what: what a worker of this script measures", **given)


def main(values, _):
    """Measures in processes of its own, then writes the tables."""
    if values.part:
        with distribution.started("multi_worker" if os.environ.get("TF_CONFIG") else "none") as strategy:
            team = distribution.Team.of(strategy)
            found = reductions(team, values.quick) if values.part == "reductions" else step(values.part, team, values)
            team.told(None)  # all end together
        print(json.dumps(found) if team.chief else "")
        return
    if unknown := set(values.recipes) - set(NAMES):
        raise flags.usage_error(f"--recipes: no {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    results = known() if values.table else measured(values)
    if not (values.table or values.write):
        print(page(results))
        return
    if not values.table:
        files.write_text(RESULTS, json.dumps(results, indent=1) + "\n")
    files.write_text(PAGE, splice(PAGE.read_text(), BEGIN, END, page(results)))
    print(f"wrote {PAGE}")


def known():
    """Returns the figures of docs/distribution.json, {} where nothing was measured."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


# What a worker does


def reductions(team, quick):
    """Returns {bytes: seconds} of one reduction, the median of many."""
    found = {}
    for size in SIZES[:4] if quick else SIZES:
        words, seconds = np.zeros(size // 4, np.float32), []
        for _ in range(3 if quick else 30):
            began = time.perf_counter()
            team.total(words)
            seconds.append(time.perf_counter() - began)
        found[str(size)] = statistics.median(seconds[1:])
    return found


def step(name, team, values):
    """Returns the seconds of a step of a recipe on made pictures, and the bytes that its workers reduce in it."""
    recipe = RECIPES[name]
    task, planned = made_task(recipe)
    state = loop.initial_state(task, 0, team)
    take, _ = loop.compiled(task, state, planned, team)
    with ThreadPoolExecutor(1) as pool:
        count, block = next(loop.epoch_blocks(task, planned, Progress(), pool, team))
    take(block, count)
    seconds, end = [], time.perf_counter() + (0.0 if values.quick else 10.0)
    while time.perf_counter() < end or len(seconds) < 2:
        began = time.perf_counter()
        take(block, count)
        seconds.append((time.perf_counter() - began) / count)
    reduced = 4 * (tree.count(state.trainable) + tree.count(state.stats) + 2)
    return {"seconds": statistics.median(seconds), "bytes": reduced, "norms": len(tree.leaves(state.stats)) // 2}


def made_task(recipe):
    """Returns the Task of a recipe on random pictures of its shape, and its plan; one block of steps is an epoch."""
    count = recipe.batch_size * min(recipe.steps_per_loop, 50)
    generator = np.random.default_rng(0)
    classes = 2 if recipe.loss.startswith("sigmoid") else 10
    images = generator.integers(0, 256, [count, *recipe.model.image_shape], np.uint8)
    labels = generator.integers(0, classes, count).astype(np.int32)
    labels[:classes] = np.arange(classes)
    part = Arrays(images, labels)
    splits = Splits(part, part, part, tuple(map(str, range(classes))), "made")
    return recipes.task(recipe, splits), run.Plan(**plan(recipe)).fitted(splits)


# What starts the workers


def measured(values):
    """Returns all figures as JSON values."""
    results = {"machine": environment.machine(), "reductions": asked("reductions", "two", values)}
    results["steps"] = {name: {} for name in values.recipes}
    for name in values.recipes:
        for side in SIDES:
            results["steps"][name][side] = asked(name, side, values)
            print(f"{name}, {side}: {1e3 * results['steps'][name][side]['seconds']:.3g} ms a step", flush=True)
    return results


def asked(part, side, values):
    """Returns what workers of this script measure. Raises ValueError: they failed."""
    command, lines = [sys.executable, __file__, f"--part={part}", *["--quick"] * values.quick], []
    with launch.Workers(command, SIDES[side], tell=lines.append, cluster=side != "alone") as team:
        status, sentence = team.wait()
    if status:
        raise ValueError(f"{part}, {side}: {sentence}: {lines[-1:]}")
    return json.loads(next(line for line in lines if line.startswith("[0] {"))[4:])


# The tables


def page(results):
    """Returns the tables in Markdown."""
    if not results:
        return "Not measured yet: `python scripts/distribution_cost.py` does."
    lines = [f"On {results['machine']}.", "", "One reduction between two workers of this machine:", ""]
    lines += markdown(["bytes", "ms"], [[f"{int(n):,}", f"{1e3 * s:.3g}"] for n, s in results["reductions"].items()])
    lines += ["", "Images in a second, batch and steps as in the recipe:", ""]
    heads = ["recipe", "batch", "reduced, MB", "alone", "one worker", "lost", "two workers", "against alone"]
    lines += markdown(heads, [speeds(name, sides) for name, sides in results["steps"].items()])
    lines += ["", "On paper: the share of the time that is spent on steps, in %, with 1 / 10 / 100 Gbit/s:", ""]
    lines += markdown(["recipe", *(f"{n} workers" for n in WORKERS)], [on_paper(results, n) for n in results["steps"]])
    return "\n".join(lines)


def speeds(name, sides):
    """Returns the cells of a recipe."""
    batch, (alone, one, two) = RECIPES[name].batch_size, (sides[side]["seconds"] for side in SIDES)
    rates = [f"{batch / seconds:,.0f}" for seconds in (alone, one, two)]
    reduced = f"{sides['alone']['bytes'] / 1e6:.2f}"
    return [name, str(batch), reduced, rates[0], rates[1], f"{100 * (1 - alone / one):.1f} %", rates[2],
            f"{alone / two:.2f}"]  # fmt: skip


def on_paper(results, name):
    """Returns the cells of a recipe for many hosts that have the batch of the recipe each."""
    found, small = results["steps"][name]["alone"], min(results["reductions"].values())
    reductions = 1 + 4 * found["norms"]  # batch norm: mean and variance, forward and backward

    def cell(workers):
        shares = (share(found["seconds"], found["bytes"], reductions, small, workers, speed) for speed in GIGABITS)
        return " / ".join(f"{100 * part:.0f}" for part in shares)

    return [name, *map(cell, WORKERS)]


def share(seconds, size, reductions, small, workers, gigabits):
    """Returns t / (t + r): the share of steps in the time of `workers` hosts that are joined as a ring.

    Args:
      seconds: t, of a step on one host; size: bytes that are reduced in it.
      reductions: how many there are in a step; small: seconds of a tiny one between two workers, which is two hops.
      r = reductions · small · (workers - 1) + 2 (workers - 1) / workers · size / bandwidth: a ring has 2 (workers - 1)
        hops, and every host sends its size twice, but for its own part (Patarasuk & Yuan 2009).
    """
    waiting = reductions * small * (workers - 1)
    sending = 2 * (workers - 1) / workers * 8 * size / (gigabits * 1e9)
    return seconds / (seconds + waiting + sending)


if __name__ == "__main__":
    flags.start(main, define)
