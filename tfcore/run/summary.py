"""report.html: all that a run has to show, as one page."""

import io
from pathlib import Path
from typing import Any

from tfcore import tree
from tfcore.data.splits import Splits
from tfcore.plots import page
from tfcore.run import anatomy
from tfcore.run.board import LARGE, grouped
from tfcore.run.directory import Place
from tfcore.run.task import Task
from tfcore.types import Tree

# Of each drawing in plots/, in this order: its heading, and what is to be seen in it.
DRAWINGS = {
    "curves": ("Loss and accuracy", "Training and validation over the epochs; the dotted line is the reported epoch."),
    "confusion": ("Which classes are taken for which", "Counts of the test part; a row is a true class."),
    "measures": (
        "Thresholds",
        "Of the test part: what each threshold gives, and how far probabilities can be trusted.",
    ),
    "predictions": ("Predictions", "The first pictures of the test part; mistakes are bold and red."),
    "most_wrong": ("The worst mistakes", "Pictures of the test part whose true class was given the least probability."),
    "filters": ("What the first layer looks for", "Its filters, on one scale: black takes away, white adds."),
    "layers": (
        "What each layer makes of a picture",
        "The first picture of the test part; bright is strong.",
    ),
    "training_pictures": ("The data", "The first training pictures with their classes."),
    "augmented": ("Augmentation", "Training pictures as they are, and as the first epochs show them."),
    "survey": ("The files", "Pictures per class, and their sizes: a larger dot stands for more pictures."),
}


def summary(
    place: Place, task: Task, values: dict[str, Any], config: dict[str, Any], weights: Tree, stats: Tree
) -> str:
    """Returns the HTML page of a run. values: what result.json will hold; config: what config.json holds."""
    measures = {part: values[part] for part in ("train", "validation", "test")}
    numbers = [name for name, value in measures["test"].items() if isinstance(value, int | float)]
    names = [name for name in numbers if not grouped(name).startswith("thresholds/")]  # which are drawn
    rows = [(name, *(of.get(name, "") for of in measures.values())) for name in names]
    result = page.table(rows, head=("", *measures))
    told = [
        f"{task.splits.name}: {sizes(task.splits)}.",
        f"Epochs: {values['epochs']}, in {values['seconds']:,} s; tested after epoch {values['reported_epoch']}.",
    ]
    sections = [("Result", [*map(page.paragraph, told), result])]
    for name, (heading, words) in DRAWINGS.items():
        path = place / "plots" / f"{name}.png"
        sections.append((heading, [page.picture(small(path), words)] if path.exists() else []))
    head, *parameters = anatomy.parameter_rows(weights, stats)
    settings = {**tree.flatten(config["config"]), **config["run"]}
    sections += [("Settings", [page.table(settings.items())]), ("Parameters", [page.table(parameters, head=head)])]
    return page.page(f"{task.name} on {task.splits.name}, seed {config['run']['seed']}", sections)


def small(path: Path) -> bytes:
    """Returns the bytes of a PNG file, or of a JPEG of it where they are many, as of photographs."""
    from PIL import Image

    if path.stat().st_size <= LARGE:
        return path.read_bytes()
    file = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").save(file, format="jpeg", quality=85)
    return file.getvalue()


def sizes(splits: Splits) -> str:
    """Returns "1,248 train, 249 validation, 300 test images of 10 classes"."""
    counts = ", ".join(f"{len(getattr(splits, part).labels):,} {part}" for part in ("train", "validation", "test"))
    return f"{counts} images of {len(splits.class_names)} classes"
