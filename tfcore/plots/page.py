"""A page of pictures and tables for a browser: one file that needs no other."""

import base64
import html
from collections.abc import Iterable, Sequence
from typing import Any

from tfcore.showing import readable

STYLE = """
body { font: 16px/1.5 sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222; background: #fff }
img { max-width: 100%; height: auto } figure { margin: 0 0 1em } h2 { margin-top: 2em; border-bottom: 1px solid #ccc }
table { border-collapse: collapse; margin-bottom: 1em; font-size: 14px }
td, th { padding: 2px 12px 2px 0; text-align: left; vertical-align: top; border-bottom: 1px solid #eee }
td.number { text-align: right; font-variant-numeric: tabular-nums }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 1.5em 1em }
.tiles figure { display: flex; flex-direction: column; justify-content: end; margin: 0; max-width: 250px }
.tiles img { align-self: start; min-width: 112px; max-height: 224px; object-fit: contain; object-position: left;
  image-rendering: pixelated }
.tiles figcaption { font-size: 13px; overflow-wrap: anywhere }
.bars { display: grid; grid-template-columns: 6em 1fr max-content; gap: 0 8px; font-size: 13px; align-items: center }
.bars span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
.bars i { height: 8px; background: #4a7fb5 } .bars :nth-child(-n+3) { font-weight: bold }
"""


def page(title: str, sections: Iterable[tuple[str, Iterable[str]]]) -> str:
    """Returns an HTML page. sections: (heading, parts) in their order; parts: what the functions below return."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{_text(title)}</title>'
    lines = [f"<!doctype html><html lang=en><head>{head}<style>{STYLE}</style></head><body><h1>{_text(title)}</h1>"]
    for heading, parts in sections:
        lines += [f"<h2>{_text(heading)}</h2>", *parts] if parts else []
    return "\n".join([*lines, "</body></html>\n"])


def paragraph(text: str) -> str:
    """Returns a paragraph of plain text."""
    return f"<p>{_text(text)}</p>"


def table(rows: Iterable[Sequence[Any]], *, head: Sequence[str] = ()) -> str:
    """Returns a table of values; numbers stand to the right."""
    lines = [f"<tr>{''.join(f'<th>{_text(cell)}</th>' for cell in head)}</tr>"] if head else []
    lines += [f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows]
    return f"<table>{''.join(lines)}</table>"


def picture(encoded: bytes, caption: str, *parts: str) -> str:
    """Returns a figure of the bytes of a PNG or JPEG file, with a caption and with further parts below it."""
    kind = "jpeg" if encoded.startswith(b"\xff\xd8") else "png"
    source = base64.b64encode(encoded).decode()
    words = _text(caption)
    shown = f'<img src="data:image/{kind};base64,{source}" alt="{words}">'
    return f"<figure>{shown}<figcaption>{words}</figcaption>{''.join(parts)}</figure>"


def bars(shares: Iterable[tuple[str, float]]) -> str:
    """Returns a bar for each (name, share), 0 to 1, with the share as a number; the first is bold."""
    rows = []
    for name, share in shares:
        bar = f'<i style="width: {100 * share:.1f}%"></i>'
        rows.append(f'<span title="{_text(name)}">{_text(name)}</span>{bar}<span>{share:.3f}</span>')
    return f'<div class="bars">{"".join(rows)}</div>'


def tiles(figures: Iterable[str]) -> str:
    """Returns figures, as `picture` made them, side by side in a grid."""
    return f'<div class="tiles">{"".join(figures)}</div>'


def _cell(value):
    number = isinstance(value, int | float) and not isinstance(value, bool)
    shown = f"{value:,}" if isinstance(value, int) and number else f"{value:.4g}" if number else str(value)
    return f"<td{' class=number' if number else ''}>{_text(shown)}</td>"


def _text(value):
    return html.escape(readable(str(value)))
