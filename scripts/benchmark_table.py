"""The rows of benchmarks.json: figures, ratios, and the lines of text and of the README's table that say them."""

import json
import statistics
from typing import NamedTuple

PEERS = {
    "keras": "Keras",
    "keras_jit": "Keras, `jit_compile`, best `steps_per_execution`",
    "torch": "PyTorch",
    "jax": "JAX",
    "pillow": "Pillow in a loop",
    "unfolded": "without `fold`",
}


class Line(NamedTuple):
    """One comparison in words: what, ours and theirs; the ratio by which ours is better, and the one aimed at."""

    work: str
    ours: str
    peer: str
    theirs: str
    ratio: float
    target: float | None
    check: str = "–"


def figures(raw):
    """Returns a side's figures, from what `benchmark_process.compare` returns of it.

    seconds as median, min and max; loss: of the last round; first_step_s: from the start of the process to the end of
    the first step, None where there is none.
    """
    last = raw["rounds"][-1]
    more = {name: value for name, value in last.items() if name not in ("seconds", "loss", "since_start")}
    memory = {name: round(raw["memory"][name], 1) for name in ("peak_mb", "rss_mb", "anonymous_mb")}
    first = round(raw["first"]["since_start"], 2) if "loss" in raw["first"] else None
    return {**spread([answer["seconds"] for answer in raw["rounds"]]), "loss": last["loss"], **memory,
            "first_step_s": first, **more}  # fmt: skip


def spread(values):
    """Returns the median, the least and the largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratios(sides):
    """Returns {peer: its median by ours}; {} without ours."""
    if "tfcore" not in sides:
        return {}
    ours = sides["tfcore"]["median"]
    return {peer: values["median"] / ours for peer, values in sides.items() if peer != "tfcore"}


def share(flops_per_image, images, seconds, limit):
    """Returns the part of `limit` (GFLOP/s) that a pass over the images in so many seconds makes use of."""
    return flops_per_image * images / seconds / 1e9 / limit


def differing(sides, tolerance):
    """Returns the peers whose loss is not ours: further off than `tolerance` of the larger one, and than 0.01."""
    ours = sides["tfcore"]["loss"]
    return [
        peer
        for peer, values in sides.items()
        if not abs(values["loss"] - ours) <= max(tolerance * max(abs(values["loss"]), abs(ours)), 0.01)
    ]


def lines(row):
    """Returns the comparisons of a row: with each peer, with a limit, or of a row with itself."""
    found, ours = [], row["sides"].get("tfcore")
    for peer, ratio in row.get("ratios", {}).items():
        theirs = row["sides"][peer]
        check = f"{row['check']} {ours['loss']:.4g}, {theirs['loss']:.4g}" if row.get("check") else "–"
        check += " **(differs)**" if peer in row.get("differs", []) else ""
        found.append(
            Line(f"{row['work']}, {row['unit']}", measured(ours, row), PEERS.get(peer, peer), measured(theirs, row),
                 ratio, row["targets"].get(peer), check)
        )  # fmt: skip
    if "share" in row:
        limit, part = row["limit_gflops"], row["share"]
        found.append(
            Line(f"{row['work']}, speed", f"{number(part * limit)} GFLOP/s", "a matrix product of 2048 x 2048",
                 f"{number(limit)} GFLOP/s", part, row["share_target"])
        )  # fmt: skip
    if "at_most" in row:
        found.append(
            Line(f"{row['work']}, {row['unit']}", measured(ours, row), "at most", f"{row['at_most']} {row['measure']}",
                 row["at_most"] / ours["median"], 1.0)
        )  # fmt: skip
    for what, values in row.get("flat", {}).items():
        least, most = min(values.values()), max(values.values())
        found.append(
            Line(f"{row['work']}, {row['unit']}", f"{number(least)} to {number(most)} {what}",
                 f"itself with {', '.join(values)} images", "–", least / most, row["flat_target"])
        )  # fmt: skip
    return found


def measured(side, row):
    """Returns "0.145 s (0.14 to 0.15)"."""
    low, high = number(side["min"]), number(side["max"])
    spread = f" ({low} to {high})" if low != high else ""
    return f"{number(side['median'])} {row['measure']}{spread}"


def number(value):
    """Returns a number with three digits, or with all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def met(line):
    """Returns whether the target is reached; None where there is none."""
    return None if line.target is None else line.ratio >= line.target


def table(rows):
    """Returns the README's table."""
    cells = [
        "| work | tfcore | peer | theirs | ratio | target | same result: ours, theirs |",
        "|---|---|---|---|---|---|---|",
    ]
    for line in (line for row in rows for line in lines(row)):
        ratio = f"**{line.ratio:.2f}x**" if met(line) else f"{line.ratio:.2f}x"
        target = "–" if line.target is None else f"{line.target:g}x"
        cells.append(f"| {line.work} | {line.ours} | {line.peer} | {line.theirs} | {ratio} | {target} | {line.check} |")
    machines = ", ".join(sorted({row["machine"] for row in rows}))
    versions = {f"{name} {version}" for row in rows for name, version in row.get("versions", {}).items()}
    facts = f"Median (least to most). Bold: the target is reached. Machine: {machines}; {', '.join(sorted(versions))}."
    return "\n".join([*cells, "", facts])


def report(row):
    """Returns what is printed of a row: a line for each side, then the comparisons."""
    text = [f"{row['work']}, {row['unit']}"]
    for name, side in row["sides"].items():
        parts = [f"  {name:<10} {measured(side, row):<28}"]
        parts += (
            [f"{row['images'] / side['median']:>9,.0f} images/s"] if "images" in row and row["measure"] == "s" else []
        )
        parts += [f"{row['check']} {side['loss']:.4g}"] if row.get("check") and "loss" in side else []
        parts += [f"peak {side['peak_mb']:,.0f} MB"] if "peak_mb" in side else []
        parts += [f"first step after {side['first_step_s']:.1f} s"] if side.get("first_step_s") else []
        parts += [f"steps_per_execution {side['steps_per_execution']}"] if "steps_per_execution" in side else []
        text.append("  ".join(parts))
    for line in lines(row):
        aim = "" if line.target is None else f", target {line.target:g}x{'' if met(line) else ': missed'}"
        differs = ", the result differs" if "differs" in line.check else ""
        text.append(f"  {line.ratio:.2f}x: {line.ours}; {line.peer} {line.theirs.strip('–')}".rstrip() + aim + differs)
    return "\n".join(text)


def placed(text, begin, end, content):
    """Returns `text` with `content` between its two marks.

    Raises:
      ValueError: it does not have them.
    """
    if begin not in text or end not in text:
        raise ValueError(f"the README has no place for the table: it wants the lines {begin} and {end}")
    before, rest = text.split(begin, 1)
    return f"{before}{begin}\n\n{content}\n\n{end}{rest.split(end, 1)[1]}"


def rounded(value):
    """Returns JSON values with four digits: a float's rest is noise."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def read_rows(path):
    """Returns the rows of benchmarks.json; those of another form, of an earlier version, are left out."""
    rows = json.loads(path.read_text()) if path.exists() else []
    return [row for row in rows if "sides" in row]
