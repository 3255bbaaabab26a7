"""Differing words: found in any order of sentences, and nothing else is marked."""

from eval.report.study import differing_spans


def marked(sentence: str, *others: str) -> list[str]:
    [spans] = differing_spans([sentence], others)
    assert " ".join(text for text, _ in spans) == " ".join(sentence.split())
    return [text for text, differs in spans if differs]


def test_words_missing_in_the_counterpart_differ():
    assert marked("Small left pleural effusion.", "Large right pleural effusion.") == ["Small left"]


def test_missing_negation_is_marked():
    assert marked("There is no pleural effusion.", "There is pleural effusion.") == ["no"]


def test_case_and_punctuation_are_ignored():
    assert marked("Heart is NORMAL in size, lungs clear .", "heart is normal in size. Lungs clear") == []


def test_order_of_sentences_is_ignored():
    assert marked("The lungs are clear.", "The heart is large.", "No effusion.", "The lungs are clear.") == []


def test_sentence_without_counterpart_differs_completely():
    assert marked("Old rib fracture on the left.", "The heart is normal.") == ["Old rib fracture on the left."]


def test_nothing_differs_without_another_report():
    assert marked("The lungs are clear.") == []


def test_numbers_are_compared():
    assert marked("Nodule of 5 mm.", "Nodule of 8 mm.") == ["5"]


def test_each_sentence_has_its_own_counterpart():
    spans = differing_spans(["No edema.", "Big heart."], ["Big round heart.", "No edema."])
    assert [[differs for _, differs in sentence] for sentence in spans] == [[False], [False]]
