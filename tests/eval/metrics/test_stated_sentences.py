"""The sentences of written reports, however the model writes its full stops."""

import pytest

from eval.metrics.laterality import report_sentences, stated_sentences
from vlm.schema.findings import FINDING_INDEX


@pytest.mark.parametrize(
    "report",
    [
        "Findings: The heart is large. No effusion. Impression: Cardiomegaly.",
        "The heart is large. No effusion. Impression: Cardiomegaly.",
    ],
)
def test_headings_are_no_part_of_a_sentence(report):
    assert report_sentences(report) == ["The heart is large.", "No effusion.", "Cardiomegaly."]


def test_full_stops_that_are_words_end_sentences_too():
    assert report_sentences("the heart is large . no effusion .") == ["the heart is large .", "no effusion ."]


def test_each_sentence_carries_its_section_and_the_findings_it_states():
    sentences = stated_sentences("Findings: The heart is large. No effusion. Impression: Cardiomegaly.")
    assert [sentence.section for sentence in sentences] == ["Findings", "Findings", "Impression"]
    cardiomegaly = (FINDING_INDEX["Cardiomegaly"],)
    assert [sentence.findings for sentence in sentences] == [cardiomegaly, (), cardiomegaly]
