"""On which line of a TOML file something is said."""

import pytest
from neurig.interaction.lines import line_of

TEXT = '''title = """
[model]
dimension = 3
"""
[model]  # a remark = 1
  dimension = 4
[midi]
input."X-TOUCH = [1]" = [
  ["note_on", 1],
  # dimension = 5
]
'in' . b.c = { d = 1 }
[ "a b" . c ]
x = "]"
[[predictor]]
[predictor.osc]
[[predictor.map]]
index = 1
[[predictor.map]]
index = 2
[[predictor]]
name = "b"
'''


@pytest.mark.parametrize(("keys", "line"), [
    (("title",), 1), (("model",), 5), (("model", "dimension"), 6), (("model", "file"), 5), (("midi", "input"), 8),
    (("midi", "input", "X-TOUCH = [1]"), 8), (("midi", "in", "b", "c", "d"), 12), (("a b", "c", "x"), 14),
    (("a b",), 13),
    (("predictor",), 15), (("predictor", 0, "osc", "port"), 16), (("predictor", 0, "map", 0, "index"), 18),
    (("predictor", 0, "map", 1, "index"), 20), (("predictor", 0, "map", 1, "low"), 19), (("predictor", 1), 21),
    (("predictor", 1, "name"), 22), (("nowhere",), None),
])
def test_lines(keys: tuple[str | int, ...], line: int | None) -> None:
    assert line_of(TEXT, keys) == line
