"""Differing words: found whatever the order of sentences, and nothing else is marked."""

from eval.report.study import differing_spans


def marked(sentence: str, *others: str) -> list[str]:
    [spans] = differing_spans([sentence], others)
    assert " ".join(span.text for span in spans) == " ".join(sentence.split())
    return [span.text for span in spans if span.differs]


def test_the_words_that_the_counterpart_lacks_differ():
    assert marked("Small left pleural effusion.", "Large right pleural effusion.") == ["Small left"]


def test_a_missing_no_is_marked():
    assert marked("There is no pleural effusion.", "There is pleural effusion.") == ["no"]


def test_case_and_punctuation_do_not_count():
    assert marked("Heart is NORMAL in size, lungs clear .", "heart is normal in size. Lungs clear") == []


def test_sentences_in_another_order_do_not_differ():
    assert marked("The lungs are clear.", "The heart is large.", "No effusion.", "The lungs are clear.") == []


def test_a_sentence_without_counterpart_differs_as_a_whole():
    assert marked("Old rib fracture on the left.", "The heart is normal.") == ["Old rib fracture on the left."]


def test_without_another_report_nothing_differs():
    assert marked("The lungs are clear.") == []


def test_numbers_are_compared_too():
    assert marked("Nodule of 5 mm.", "Nodule of 8 mm.") == ["5"]


def test_many_sentences_keep_their_own_counterparts():
    spans = differing_spans(["No edema.", "Big heart."], ["Big round heart.", "No edema."])
    assert [[span.differs for span in sentence] for sentence in spans] == [[False], [False]]
