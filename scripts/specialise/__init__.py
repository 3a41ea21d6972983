"""Writes a function out for known arguments, with all functions of tfcore that it calls, as one plain program.

What depends on known values alone is computed now: a configuration becomes the numbers in it, an `if` the branch that
is taken, a table of functions the one that is looked up. An argument that has one value in all calls is left out where
it is a switch that is off, a name, or no number at all.

It is constant propagation through calls (Wegman & Zadeck 1991), until nothing changes, on Python's syntax trees:

- `syntax.py` reads functions, `known.py` says what an expression in one is worth;
- `expressions.py` and `rewrite.py` write one function, `program.py` all that are reached;
- `tidy.py` and `inline.py` shorten what is left, `docstrings.py` what is said of it.
"""
