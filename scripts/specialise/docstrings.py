"""Docstrings of an ejected program: what they say of arguments and functions that are not there is left out."""

import ast
import functools
import re
import textwrap

from specialise.syntax import arguments

WIDTH, LINES = 120, 3  # up to so many lines a docstring is one paragraph
SECTION = re.compile(r"(Args|Returns|Raises|Yields):(.*)", re.S)
SPOKEN = re.compile(r"`([\w.]+)([^`]*)`")
ELSEWHERE = ("tfcore", "eplica")  # of what a sentence speaks that is not of this program


def trim(tree, words, untrue):
    """Rewrites the docstrings of a function, or class, and of the functions in it.

    words: {name that a docstring may speak of: its name in the program}; a sentence that names another is left out;
    untrue: {phrase: what to say in its place}; "without" a key says what happens where that is looked for.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and (text := ast.get_docstring(node)):
            text = functools.reduce(lambda text, phrase: text.replace(*phrase), untrue.items(), text)
            names = [x.arg for x in arguments(node)] if isinstance(node, ast.FunctionDef) else []
            tested = re.findall(r"('\w+') in ", ast.unparse(node))
            indent = 4 + node.col_offset
            lines = laid_out(trimmed(text, names, words | {n: n for n in names + tested}), indent)
            node.body[0].value = ast.Constant(f"\n{' ' * indent}".join(lines).replace(" " * indent + "\n", "\n"))


def trimmed(text, names, words):
    """Returns what is true of the parts of a docstring. names: of the arguments that are left."""
    first, *rest = [part for part in sections(text) if not part.startswith("Raises:")]
    kept = true_of(first, words, first=True)
    if kept.count(" ") < first.count(" "):  # what followed may speak of what was left out
        rest = [part for part in rest if SECTION.match(part)]
    return [kept, *(left for part in rest if (left := of_section(part, names, words)))]


def sections(text):
    """Returns the paragraphs of a docstring, and what follows "Args:", "Returns:" and "Raises:", each as one text."""
    return [
        part
        for paragraph in re.split(r"\n\s*\n", text)
        for part in re.split(r"\n(?=(?:Args|Returns|Raises|Yields):)", paragraph)
    ]


def of_section(part, names, words):
    """Returns what is left of a paragraph, or of a list of arguments; "" where nothing is."""
    found = SECTION.match(part)
    if not found:
        return true_of(part, words)
    if found[1] != "Args":
        return f"{found[1]}: {true_of(found[2].strip(), words)}"
    entries = re.split(r"\n(?=  \w)", found[2])[1:]
    left = [kept for entry in entries if (kept := of_entry(entry, names, words))]
    return "Args:\n" + "\n".join(left) if left else ""


def of_entry(entry, names, words):
    """Returns the entry "a, b: text" for those of its arguments that are left."""
    head, _, text = entry.partition(":")
    left = [name for name in re.split(r"[,\s]+", head.strip()) if name in names]
    return f"  {', '.join(left)}: {true_of(text.strip(), words)}" if left else ""


def true_of(text, words, *, first=False):
    """Returns a text without the sentences, and parts of sentences, that name in backticks what is not there.

    first: the text is the beginning of a docstring, whose first words are kept.
    """
    pieces = re.split(r"(?<=[.;:])\s+", text)
    true = [(first and not i) or is_true(piece, words) for i, piece in enumerate(pieces)]
    ends = [after or piece.endswith(".") for piece, after in zip(pieces, [*true[1:], True])]
    kept = [piece if end else piece[:-1] + "." for piece, here, end in zip(pieces, true, ends) if here]
    short = text if all(true) else " ".join(kept)
    return SPOKEN.sub(lambda match: f"`{words.get(match[1].split('.')[-1], match[1])}{match[2]}`", short)


def is_true(piece, words):
    """True for a part of a sentence that speaks of this program alone."""
    names = [name.split(".")[-1] for name, _ in SPOKEN.findall(piece)]
    names += [f"'{key}'" for key in re.findall(r'^without "(\w+)"', piece)]
    return all(name in words for name in names) and not any(other in piece for other in ELSEWHERE)


def laid_out(parts, indent):
    """Returns the lines of a docstring: one paragraph where it is short, else paragraphs and lists of arguments."""
    width = WIDTH - indent
    whole = " ".join(line if line.endswith(".") else f"{line}." for line in lines_of(parts))
    short = textwrap.wrap(f'"""{whole}"""', width, break_on_hyphens=False)
    if len(short) <= LINES:
        return "\n".join(short)[3:-3].split("\n")
    lines = []
    for i, part in enumerate(parts):
        section = SECTION.match(part)
        lines += [""] if i and not (section and SECTION.match(parts[i - 1])) else []
        for line in part.split("\n") if section else [re.sub(r"\n\s*", " ", part)]:
            hanging = " " * (4 if line.startswith("  ") else 2) if section else ""
            lines += textwrap.wrap(line, width - 3 * (not i), subsequent_indent=hanging, break_on_hyphens=False)
    return [*lines, ""]


def lines_of(parts):
    """Returns what the parts of a docstring say, an argument or a paragraph in each line."""
    for part in parts:
        for line in (
            re.sub(r"\n\s\s\s+", " ", part.removeprefix("Args:\n")).split("\n  ") if "Args:" in part else [part]
        ):
            yield re.sub(r"\s*\n\s*", " ", line).strip()
