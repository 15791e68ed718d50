"""The pieces that the HTML report is built of: its style, tables, and texts that may be shown.

Every piece escapes what it is given. Does not belong here: what stands in the report
(``report_html``).
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

from ft_assets.data.redaction import excerpt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LINES = 24  # of one text; what is longer is cut
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --card: #f5f5f6; --text: #18181b;
  --faint: #62626b; --edge: #d9d9de; --good: #15803d; --bad: #b91c1c; }
@media (prefers-color-scheme: dark) { :root { --ground: #18181b; --card: #232327; --text: #ececee;
  --faint: #a4a4ad; --edge: #3c3c43; --good: #4ade80; --bad: #f87171; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px; max-width: 1200px; background: var(--ground);
  color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 32px 0 8px; }
h3 { font-size: 15px; margin: 24px 0 8px; }
.faint { color: var(--faint); }
.verdict { margin: 16px 0; padding: 12px 16px; border-left: 5px solid var(--bad);
  background: var(--card); font-size: 17px; }
.verdict.good { border-color: var(--good); }
.good { color: var(--good); } .bad { color: var(--bad); }
.verdict.good, .verdict.bad { color: var(--text); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: 5px 10px; border-bottom: 1px solid var(--edge); text-align: left;
  vertical-align: top; }
th { font-weight: 600; color: var(--faint); white-space: nowrap; }
th.number, td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
details { margin: 8px 0; border: 1px solid var(--edge); border-radius: 6px; }
summary { padding: 8px 12px; cursor: pointer; }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 12px;
  padding: 0 12px 12px; }
.sides section { background: var(--card); border-radius: 6px; padding: 8px 12px; min-width: 0; }
.sides h4 { margin: 0 0 4px; font-size: 13px; color: var(--faint); }
.sides p { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
svg.forest { max-width: 100%; height: auto; }
svg.forest text { fill: var(--text); } svg.forest .ground { fill: var(--ground); }
svg.forest .zero { stroke: var(--faint); }
"""


def page(title: str, body: Sequence[str]) -> str:
    """A whole document that loads nothing and runs nothing, whatever stands in it."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def table(rows: Sequence[Mapping[str, str]], *, numbers: Sequence[str] = ()) -> str:
    """A table of rows that have the same columns.

    Args:
        rows: cells by the name of their column.
        numbers: columns that are set to the right. Cells that say ``passed`` or ``failed`` are
            coloured.
    """
    if not rows:
        return '<p class="faint">none</p>'
    head = "".join(
        f"<th class='{'number' if name in numbers else ''}'>{escape(name)}</th>" for name in rows[0]
    )
    lines = (
        "<tr>" + "".join(_cell(name, text, numbers) for name, text in row.items()) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>'
        + "".join(lines)
        + "</tbody></table></div>"
    )


def paragraph(text: str, style: str = "") -> str:
    """A paragraph; ``style`` is one of the page's classes."""
    return f'<p class="{style}">{escape(text)}</p>' if style else f"<p>{escape(text)}</p>"


def heading(text: str, level: int = 2) -> str:
    """A heading."""
    return f"<h{level}>{escape(text)}</h{level}>"


def items(texts: Sequence[str]) -> str:
    """A list of sentences."""
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def fold(summary: str, sides: Mapping[str, str], *, opened: bool = False) -> str:
    """Texts side by side behind one line that opens them."""
    inner = "".join(
        f"<section><h4>{escape(name)}</h4><p>{escape(text)}</p></section>"
        for name, text in sides.items()
    )
    return (
        f"<details{' open' if opened else ''}><summary>{escape(summary)}</summary>"
        f'<div class="sides">{inner}</div></details>'
    )


def shown(text: str | None, limit: int) -> str:
    """A text as it may be shown: cut, without secrets and addresses, its lines kept.

    Control characters, which models do say and neither HTML nor every database can hold, are
    replaced by the character that stands for unknown ones.
    """
    if text is None:
        return "(none kept)"
    if not text.strip():
        return "(empty)"
    lines: list[str] = []
    left = limit
    for place, line in enumerate(_CONTROL.sub("\ufffd", text).splitlines()):
        if left <= 0 or place == _LINES:
            lines.append("…")
            break
        lines.append(excerpt(line, left))
        left -= len(lines[-1]) + 1
    return "\n".join(lines).strip("\n")


def _cell(name: str, text: str, numbers: Sequence[str]) -> str:
    style = "number" if name in numbers else ""
    if text.startswith("passed"):
        style = "good"
    elif text.startswith("failed"):
        style = "bad"
    attribute = f' class="{style}"' if style else ""
    return f"<td{attribute}>{escape(text)}</td>"
