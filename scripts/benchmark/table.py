"""The comparisons of the rows of docs/benchmarks.json, as lines of text and of a table in Markdown."""

from typing import NamedTuple

NAMES = {
    "keras": "Keras",
    "keras_jit": "Keras",
    "keras_best": "Keras at its best",
    "torch": "PyTorch",
    "jax": "JAX",
    "pillow": "Pillow in a loop",
    "float32": "tfcore in float32",
    "kernels": "a loop of its kernels alone",
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


def lines(row):
    """Returns the comparisons of a row: with each peer, with a limit, or of a row with itself."""
    sides, aims, what = row["sides"], row.get("aims", {}), f"{row['work']}, {row['unit']}"
    ours, found = sides.get("tfcore"), []
    for name, target in row["targets"].items():
        peer, theirs = f"{NAMES[name]}, {sides[name]['form']}" if "form" in sides[name] else NAMES[name], sides[name]
        ratio = theirs["median"] / ours["median"]
        found.append(Line(what, figure(ours, row), peer, figure(theirs, row), ratio, target, check(ours, theirs, row)))
    if "share" in aims:
        speed, limit = row["gflop"] / ours["median"], row["limit_gflops"]
        gflops = f"{number(speed)} GFLOP/s", "a matrix product of 2048 x 2048", f"{number(limit)} GFLOP/s"
        found.append(Line(f"{row['work']}, speed", *gflops, speed / limit, aims["share"]))
    if "at_most" in aims:
        ratio = aims["at_most"] / ours["median"]
        found.append(Line(what, figure(ours, row), "at most", f"{aims['at_most']} s", ratio, 1.0))
    if "flat" in aims:
        speeds = [row["images"] / side["median"] for side in sides.values()]
        for unit, values in (("images/s", speeds), ("MB, not of files", [s["anonymous_mb"] for s in sides.values()])):
            low, high, itself = min(values), max(values), f"itself with {', '.join(sides)} images"
            found.append(Line(what, f"{number(low)} to {number(high)} {unit}", itself, "–", low / high, aims["flat"]))
    return found


def figure(side, row):
    """Returns "0.145 s (0.14 to 0.15)"."""
    low, high = number(side["min"]), number(side["max"])
    return f"{number(side['median'])} {row['measure']}" + (f" ({low} to {high})" if low != high else "")


def number(value):
    """Returns a number with three digits, or with all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def check(ours, theirs, row):
    """Returns what shows that both did the same: "loss 0.1, 0.102"; it says where that differs."""
    if "result" not in ours or "result" not in theirs:
        return "–"
    a, b = ours["result"], theirs["result"]
    same = abs(a - b) <= max(0.05 * max(abs(a), abs(b)), 0.01)
    return f"{row['check']} {a:.4g}, {b:.4g}{'' if same else ' **(differs)**'}"


def met(line):
    """Returns whether the target is reached; None where there is none."""
    return None if line.target is None else line.ratio >= line.target


def table(rows):
    """Returns the table of all rows, and what they were measured with."""
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
        facts = [figure(side, row), f"peak {number(side['peak_mb'])} MB"]
        facts += [f"{row['check']} {side['result']:.4g}"] if "result" in side else []
        facts += [side["form"]] if "form" in side else []
        text.append(f"  {name:<10} {'; '.join(facts)}")
    for line in lines(row):
        aim = "" if line.target is None else f", target {line.target:g}x{'' if met(line) else ': missed'}"
        differs = ", the result differs" if "differs" in line.check else ""
        text.append(f"  {line.ratio:.2f}x: {line.ours}; {line.peer} {line.theirs}{aim}{differs}")
    return "\n".join(text)
