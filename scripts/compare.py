"""Compares runs: curves over each other, what differs in settings and results, and whether it is more than chance.

python scripts/compare.py logs/mnist_perceptron/*                   # every run of a recipe
python scripts/compare.py logs/first logs/second --output=two.png

Runs that differ in the seed only are one group: its figures are the mean ± the standard deviation over the seeds.
"""

import flags

import itertools
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl.flags import DEFINE_string
from chance import by_images, by_seeds
from tables import columns

from tfcore import plots, tree
from tfcore.run import records
from tfcore.run.directory import CONFIG
from tfcore.run.result import RESULT

NO_SETTINGS = ("format", "id", "name", "note", "content", "pictures", "class_names")  # of config.json
ALL_PAIRS = 4  # up to so many groups all pairs are looked at
DASH = "–"


def define(values):
    """Defines the flags."""
    text = "output: where the curves are drawn, a .png file"
    DEFINE_string("output", "compare.png", text, flag_values=values)


def main(values, arguments):
    """Prints the table and what is more than chance, and draws the curves."""
    if not arguments:
        raise flags.usage_error("name the runs to compare: their directories")
    output = Path(values.output)
    if output.suffix != ".png":
        raise flags.usage_error(f"--output={output} must end with .png")
    groups = grouped([Run.read(path) for path in {Path(a).resolve(): Path(a) for a in arguments}.values()])
    print("\n".join(columns(table(groups))))
    for lines in verdicts(groups):
        print("\n" + "\n".join(lines))
    plots.save(output.parent, {output.stem: plots.compared([(g.label, [r.rows for r in g.runs]) for g in groups])})
    print(f"\ncurves  {output}")


class Run(NamedTuple):
    """What is read of a run: {name: value} of its settings, the rows of metrics.jsonl, result.json, None without it."""

    path: Path
    settings: dict
    seed: int
    rows: list
    result: dict | None

    @classmethod
    def read(cls, path):
        """Reads a run directory. Raises ValueError: it is none, or it is damaged."""
        if not (path / "config.json").exists():
            raise ValueError(f"{path} is no run: it has no config.json; a run is logs/<experiment>/<run>")
        config = records.read_json(path / "config.json", CONFIG)
        settings = tree.flatten({name: value for name, value in config.items() if name not in NO_SETTINGS})
        settings = {name: value for name, value in settings.items() if value is not None}
        seed, place = settings.pop("run/seed", 0), measured(path)
        result = place / "result.json"
        values = records.read_json(result, RESULT) if result.exists() else None
        return cls(path, settings, seed, records.rows(place / "metrics.jsonl"), values)


def measured(path):
    """Returns the directory with a run's measures: its own, or of a transfer that of its last stage."""
    stages = (path / "fine_tune", path / "head")
    return next((stage for stage in stages if (stage / "metrics.jsonl").exists()), path)


class Group(NamedTuple):
    """Runs that differ in the seed only. letter: a short name; differing: {setting: value} of what others have else."""

    letter: str
    differing: dict
    runs: list

    @property
    def label(self):
        """The group in words."""
        return f"{self.letter}: " + (
            ", ".join(f"{k} {v}" for k, v in self.differing.items()) or self.runs[0].path.resolve().name
        )

    def all(self, part, name):
        """Returns the measures of its complete runs; of validation while a run trains that of its last epoch."""
        found = [r.result[part] if r.result else r.rows[-1].get(part) if r.rows else None for r in self.runs]
        return [measures[name] for measures in found if measures]


def grouped(runs):
    """Returns the runs as groups, in the order in which they were given.

    Raises:
      ValueError: two runs have the same settings and seed: one of them twice would make the spread too small.
    """
    kinds = {}
    for run in runs:
        kind = kinds.setdefault(json.dumps(run.settings, sort_keys=True), {})
        if run.seed in kind:
            raise ValueError(f"{kind[run.seed].path} and {run.path} are the same run, seed {run.seed}: leave one out")
        kind[run.seed] = run
    settings = [next(iter(kind.values())).settings for kind in kinds.values()]
    names = dict.fromkeys(name for each in settings for name in each)
    names = [name for name in names if len({json.dumps(each.get(name)) for each in settings}) > 1]
    short = {name: name.split("/")[-1] for name in names}
    words = {n: short[n] if list(short.values()).count(short[n]) == 1 else n for n in names}
    letters = ("".join(letter) for size in (1, 2) for letter in itertools.product(map(chr, range(65, 91)), repeat=size))
    return [
        Group(letter, {words[n]: shown(each.get(n)) for n in names}, list(kind.values()))
        for letter, each, kind in zip(letters, settings, kinds.values())
    ]


def shown(value):
    """Returns a setting for a table: [[32], [64]] as 32;64."""
    if isinstance(value, list):
        return (";" if any(isinstance(item, list) for item in value) else ",").join(map(shown, value))
    return f"{value:g}" if isinstance(value, float) else DASH if value is None else str(value)


def table(groups):
    """Returns the rows of the table, the heads first: a row is a group."""
    measures = [(part, name) for part in ("validation", "test") for name in ("accuracy", "loss")]
    heads = ["", *groups[0].differing, "seeds", "epochs", "seconds", *(" ".join(each) for each in measures)]
    rows = []
    for group in groups:
        seconds = [r.result["seconds"] if r.result else sum(row["seconds"] for row in r.rows) for r in group.runs]
        epochs = sorted({f"{len(r.rows)}{'' if r.result else ' so far'}" for r in group.runs})
        row = [group.letter, *group.differing.values(), ",".join(str(r.seed) for r in group.runs), " or ".join(epochs)]
        rows.append([*row, f"{np.mean(seconds):.0f}", *(spread(group.all(*each)) for each in measures)])
    return [heads, *rows]


def spread(values):
    """Returns the mean ± the sample standard deviation of some values, as text."""
    if not values:
        return DASH
    return f"{np.mean(values):.4f}" + (f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else "")


def verdicts(groups):
    """Yields, for pairs of groups, lines of text: by how much they differ, and whether that is more than chance."""
    pairs = list(itertools.combinations(groups, 2))
    if len(groups) > ALL_PAIRS:
        best = max(groups, key=lambda group: np.mean(group.all("validation", "accuracy") or [-1.0]))
        pairs = [(best, other) for other in groups if other is not best]
        yield [f"{len(groups)} groups: each beside {best.letter}, the best by validation accuracy"]
    for a, b in pairs:
        yield [a.label, b.label, *verdict(a, b, "test"), *verdict(a, b, "validation")]
    if len(pairs) > 1:
        yield [f"These are {len(pairs)} pairs: where nothing differs, about one judgement in 20 says that it exceeds."]


def verdict(a, b, part):
    """Returns the lines on the accuracy of two groups on a part of the data."""
    if not all(run.result for group in (a, b) for run in group.runs):
        return [f"  {part}: not compared, a run has not come to its end"]
    pair = [group.all(part, "accuracy") for group in (a, b)]
    means = [np.mean(each) for each in pair]
    lines = [f"  {part}: {a.letter} - {b.letter} = {means[0] - means[1]:+.4f}", f"    {by_seeds(*pair)}"]
    if part == "test":
        counts = [int(np.sum(group.runs[0].result["test"]["confusion"])) for group in (a, b)]
        shared = a.runs[0].settings.get("dataset") == b.runs[0].settings.get("dataset")
        lines.append(f"    {by_images(means, counts, shared=shared)}")
    return lines


if __name__ == "__main__":
    flags.start(main, define, positional=True)
