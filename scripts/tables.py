"""Tables: those that commands write into pages, and those that they print."""


def splice(text, begin, end, content):
    """Returns `text` with `content` between its two marks, in place of what stood there.

    Raises:
      ValueError: `text` does not have them, in this order.
    """
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"the page has no place for the table: it wants the lines {begin} and {end}")
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"


def markdown(heads, rows):
    """Returns the lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]


def columns(rows):
    """Returns lines: rows of text with their cells below each other, the first line the heads."""
    widths = [max(map(len, cells)) for cells in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
