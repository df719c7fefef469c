"""On which line of a TOML file something is said."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

Keys = tuple[str | int, ...]
"""Keys, and for lists of tables numbers from 0: ``("predictor", 1, "midi", "input")``."""

_PART = r'(?:"(?:\\.|[^"\\])*"|\'[^\']*\'|[A-Za-z0-9_-]+)'
_KEY = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_KEY})\s*\]")
_ASSIGNMENT = re.compile(rf"\s*({_KEY})\s*=")


def line_of(text: str, path: Keys) -> int | None:
    """The line, from 1, on which ``path`` is set; else that of what is nearest around it.

    :param text: TOML without mistakes
    """
    lines = dict(reversed(list(_statements(text))))  # the first mention counts
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path)


def _statements(text: str) -> Iterator[tuple[Keys, int]]:
    """All that is set, and its line; also the tables that it is in."""
    table: Keys = ()
    counts: dict[Keys, int] = {}
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        first, line = number + 1, lines[number]
        number += 1
        if header := _HEADER.match(line):
            table = ()
            for key in _keys(header[2]):
                table += (key,)
                if table in counts:
                    table += (counts[table],)
            if header[1] == "[[":
                if isinstance(table[-1], int):
                    table = table[:-1]
                counts[table] = counts.get(table, -1) + 1
                table += (counts[table],)
            yield from _ancestors(table, first)
        elif assignment := _ASSIGNMENT.match(line):
            yield from _ancestors(table + _keys(assignment[1]), first)
            statement = line
            while not _is_whole(statement) and number < len(lines):
                statement += "\n" + lines[number]
                number += 1


def _ancestors(path: Keys, line: int) -> Iterator[tuple[Keys, int]]:
    for length in range(1, len(path) + 1):
        yield path[:length], line


def _keys(key: str) -> tuple[str, ...]:
    """``a."b c".d`` taken apart."""
    content: Any = tomllib.loads(f"{key} = 0")
    keys = []
    while isinstance(content, dict):
        (name, content), = content.items()
        keys.append(name)
    return tuple(keys)


def _is_whole(statement: str) -> bool:
    try:
        tomllib.loads(statement)
    except tomllib.TOMLDecodeError:
        return False
    return True
