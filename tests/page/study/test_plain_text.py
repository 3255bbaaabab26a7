"""Plain text: what is left out of any text, and what stays."""

import pytest

from page.study.plain_text import plain_line, plain_text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a\x00b\x07c\x1bd\x7fe\x9ff", "abcdef"),
        ("left\u202eright\u2066!\ufeff", "leftright!"),
        ("\ud800broken\uffff", "broken"),
        ("  two \t blanks\u00a0here\u3000", "two blanks here"),
        ("line\nbreak\u2028and\r\nmore", "line break and more"),
        ("<b>5 < 6 & 7</b>", "<b>5 < 6 & 7</b>"),
        ("Müller ≥ 5 mm 胸水 🫁", "Müller ≥ 5 mm 胸水 🫁"),
        ("क्\u200dष", "क्\u200dष"),
    ],
)
def test_plain_line_keeps_readable_characters_only(text, plain):
    assert plain_line(text) == plain


def test_plain_text_keeps_line_breaks():
    assert plain_text("\n\nFirst  line\r\n\r\n second\x0cthird\u2028\n") == "First line\n\nsecond\nthird"
