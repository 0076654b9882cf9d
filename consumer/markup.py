"""HTML by functions: text is escaped where it goes in, so that none of it can become markup."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

# What XML cannot hold, and what turns the reading direction: a line would read as another than it
# is. Sources: https://www.w3.org/TR/xml/#charsets, https://www.unicode.org/reports/tr9/
_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\u202a-\u202e\u2066-\u2069]"
)


class Markup(str):
    """Markup already; any other text is escaped."""

    __slots__ = ()


def printable(text: str) -> str:
    """With a replacement character for what a page cannot show truly.

    >>> printable("paid\\x00 \\u202eevif")
    'paid� �evif'
    """
    return _UNPRINTABLE.sub("\ufffd", text)


def tag(name: str, *inside: str, **attributes: str) -> Markup:
    """An element; `class_` is its class.

    >>> tag("p", "a < b", tag("b", "c"), class_="x")
    '<p class="x">a &lt; b<b>c</b></p>'
    """
    given = "".join(f' {n.rstrip("_")}="{_escaped(v)}"' for n, v in attributes.items())
    return Markup(f"<{name}{given}>{''.join(map(_escaped, inside))}</{name}>")


def joined(parts: Iterable[str]) -> Markup:
    """One after the other."""
    return Markup("".join(map(_escaped, parts)))


def table(rows: Iterable[Sequence[str]], head: Sequence[str] = ()) -> Markup:
    """Rows of cells."""
    top = [tag("tr", *(tag("th", cell) for cell in head))] if head else []
    return tag("table", *top, *(tag("tr", *(tag("td", cell) for cell in row)) for row in rows))


def _escaped(text: str) -> str:
    return text if isinstance(text, Markup) else html.escape(printable(text))
