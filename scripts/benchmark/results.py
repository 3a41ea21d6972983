"""The rows of docs/benchmarks.json: made from the answers of the sides, read, merged and written with the table."""

import json
import statistics

from table import table
from tables import splice

from tfcore import files

BEGIN, END = "<!-- speed: python scripts/benchmark -->", "<!-- end of speed -->"


def new_row(name, work, job, raw, **more):
    """Returns the row of a work. raw: {side: {"rounds": [answers], "memory": answer}}.

    Raises:
      ValueError: a side of tfcore's own did not finish.
    """
    if missing := set(job.get("sizes", ["tfcore"])) - set(raw):
        raise ValueError(f"tfcore's own side did not finish ({', '.join(sorted(missing))})")
    sides = {side: figures(answers, work.measure) for side, answers in raw.items()}
    versions = {k: v for answers in raw.values() for k, v in answers["memory"]["versions"].items()}
    row = {"work": name, "unit": work.unit.format(**job), "measure": work.measure, "images": job["images"]}
    row |= {"sides": sides, "targets": {peer: aim for peer, aim in work.targets.items() if peer in sides}}
    row |= {"aims": work.aims, "check": work.check, "gflop": job.get("gflop")}
    return rounded({**row, "versions": versions, **more})


def figures(answers, measure):
    """Returns a side's figures: median, min and max of the measure, the last result and form, and its memory."""
    rounds, memory = answers["rounds"], answers["memory"]
    values = [memory["peak_mb"]] if measure == "MB" else [answer["seconds"] for answer in rounds]
    kept = {name: rounds[-1][name] for name in ("result", "form") if name in rounds[-1]}
    kept |= {name: memory[name] for name in ("peak_mb", "anonymous_mb")}
    return {"median": statistics.median(values), "min": min(values), "max": max(values), **kept}


def rounded(value):
    """Returns JSON values with four digits: a float's rest is noise."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def read(path):
    """Returns the rows of a file; none where there is no file."""
    return json.loads(path.read_text()) if path.exists() else []


def merged(kept, new, order):
    """Returns the kept rows with the new one in place of that of the same work, in the order of these names."""
    rows = [*(row for row in kept if row["work"] != new["work"]), new]
    return sorted(rows, key=lambda row: order.index(row["work"]) if row["work"] in order else len(order))


def write(rows, path, page):
    """Writes the rows as JSON and their table between the two marks of a page."""
    text = splice(page.read_text(), BEGIN, END, table(rows))
    files.write_text(path, json.dumps(rows, indent=1) + "\n")
    files.write_text(page, text)
