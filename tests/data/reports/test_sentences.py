import time

import pytest

from data.reports.sentences import split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        ("No effusion", ["No effusion"]),
        ("No effusion. The heart\nis large.", ["No effusion.", "The heart is large."]),
        ("1. No effusion. 2. A 1.5 cm nodule.", ["1. No effusion.", "2. A 1.5 cm nodule."]),
        ("1. No effusion 2. No edema", ["1. No effusion", "2. No edema"]),
        ("1.No effusion.2.No edema", ["1.No effusion.", "2.No edema"]),
        ("Clear.No effusion.", ["Clear.", "No effusion."]),
        ("Told to Dr. Quimby. Left vs. right.", ["Told to Dr. Quimby.", "Left vs. right."]),
        ("Lungs\n\nHeart", ["Lungs", "Heart"]),
        ("- Clear\n- No edema", ["- Clear", "- No edema"]),
        ("Stable? Yes! Fine.", ["Stable?", "Yes!", "Fine."]),
        ("Fracture of T8. Seen at 3 p.m. by us.", ["Fracture of T8.", "Seen at 3 p.m. by us."]),
    ],
)
def test_sentences(text, sentences):
    assert split_sentences(text) == sentences


def test_no_word_is_lost():
    text = "1. A  b\n\n c. 2) D e.F 3.5 cm (x). - y"
    assert "".join(split_sentences(text)).replace(" ", "") == "".join(text.split())


def test_time_is_linear_in_the_number_of_blanks():
    """A search that starts anew at each of 40,000 blanks would take 5 seconds."""
    start = time.process_time()
    assert split_sentences(f"No effusion{' ' * 40_000}is seen.") == ["No effusion is seen."]
    assert time.process_time() - start < 2
