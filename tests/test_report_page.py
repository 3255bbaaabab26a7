"""The page: complete in itself, safe with any text, and true to its figures."""

import dataclasses
import html.parser
import re

import pytest
from PIL import Image

from eval.metrics_file import metrics_document
from eval.predictions import Prediction
from eval.page_study import page_study
from eval.report_page import render_page
from eval.scoring import score_predictions
from eval.sentences import stated_sentences
from eval.verdict import constant_verdict, image_verdict, number
from vlm.findings import FINDINGS

WORDS = {"edema": 4, "effusion": 9, "fracture": 11}
EVIL = '<script>alert("x")</script> & {{ 7 * 7 }}'


def label_by_word(report: str) -> tuple[int, ...]:
    """Stands in for data.labeler: the words of a few findings, uncertain after "possible"."""
    labels = [0] * 14
    for word, finding in WORDS.items():
        if word in report.lower():
            labels[finding] = 3 if f"possible {word}" in report.lower() else 1
    labels[13] = int(not any(labels))
    return tuple(labels)


def make_predictions(num_studies: int = 12) -> list[Prediction]:
    texts = ["There is edema.", "Large effusion. No edge seen.", "A rib fracture. There is edema.", "Clear lungs."]
    return [
        Prediction(
            study_id=f"study{number:02d}",
            subject_id=f"subject{number:02d}",
            report=f"Findings: {texts[number % 4]} Impression: {texts[(number + number // 9) % 4]}",
            probabilities=tuple(0.8 if label else 0.2 for label in label_by_word(texts[number % 4])),
            reference=f"Findings: {texts[number % 4]}",
            reference_labels=label_by_word(texts[number % 4]),
        )
        for number in range(num_studies)
    ]


def make_document(predictions: list[Prediction], checkpoint: str = "runs/mine") -> dict:
    shifted = predictions[1:] + predictions[:1]
    others = [dataclasses.replace(own, report=other.report) for own, other in zip(predictions, shifted, strict=True)]
    model = score_predictions(predictions, label_by_word, num_resamples=50)
    shuffled = score_predictions(others, label_by_word, name="shuffled images", num_resamples=50)
    return metrics_document(
        [model, shuffled],
        image_verdict(model, shuffled),
        constant_verdict(model, None),
        run={
            "checkpoint": checkpoint,
            "checkpoint_hash": "0123abcd",
            "dataset": "studies",
            "dataset_hash": "4567cdef",
            "split": "test",
            "num_studies": 0,
            "max_new_tokens": 128,
            "num_beams": 1,
        },
        studies={"given": 12, "written": 12, "refused": 0},
        control_reports={"constant sentence": EVIL},
        bootstrap={"num_resamples": 50, "seed": 0},
        notes=[],
    )


@pytest.fixture(scope="module")
def document():
    return make_document(make_predictions())


@pytest.fixture(scope="module")
def page(document):
    images = [Image.new("L", (600, 300), 90)]
    return render_page(document, [page_study(images, prediction, label_by_word) for prediction in make_predictions(3)])


class Parser(html.parser.HTMLParser):
    """Collects the text, and every address that a browser would fetch; fails on a tag closed out of order."""

    EMPTY = frozenset({"meta", "img", "br", "link"})

    def __init__(self):
        super().__init__()
        self.addresses, self.tags, self.texts, self.open = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "action")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data)


def parse(page: str) -> Parser:
    parser = Parser()
    parser.feed(page)
    assert parser.open == []
    return parser


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", " ".join(parse(page).texts))


def test_the_page_needs_nothing_from_outside(page):
    addresses = parse(page).addresses
    assert len(addresses) == 3
    assert all(address.startswith("data:image/jpeg;base64,") for address in addresses)
    assert "@import" not in page
    assert "url(" not in page


def test_the_verdict_comes_before_everything_else(page, document):
    claim = document["verdict"]["image"].split(":")[0]
    assert f"<h1>{claim}</h1>" in page
    assert page.index(claim) < page.index("<table") < page.index("Reports to read")


def test_every_figure_is_on_the_page(page, document):
    text = text_of(page)
    for system in document["systems"].values():
        for estimate in system["metrics"].values():
            assert number(estimate["value"]) in text
    assert all(finding in text for finding in FINDINGS)


def test_a_finding_that_no_study_has_is_said_to_be_undefined(page):
    assert text_of(page).count("undefined: no study has it") == 10
    assert "macro over 4 of 14 findings; without a positive reference, so undefined" in text_of(page)


def test_how_it_was_made_is_said(page):
    text = text_of(page)
    for fact in ("0123abcd", "4567cdef", "uncertain counts as positive", "headings dropped, lower case", "50 times"):
        assert fact in text


def test_text_from_studies_is_shown_as_text(document):
    evil = dataclasses.replace(make_predictions(1)[0], study_id=EVIL, report=f"Findings: edema {EVIL}.", reference=EVIL)
    page = render_page(document, [page_study([Image.new("L", (8, 8))], evil, label_by_word)])
    parser = parse(page)
    assert "script" not in parser.tags
    assert text_of(page).count(EVIL) >= 3
    assert "49" not in text_of(page).split(EVIL)[1]


def test_a_path_with_markup_is_shown_as_text():
    page = render_page(make_document(make_predictions(), checkpoint="<b>runs</b>"), [])
    assert "b" not in parse(page).tags[:12]
    assert "<b>runs</b>" in text_of(page)


def test_sentences_are_marked_by_agreement_with_the_truth(document):
    prediction = dataclasses.replace(
        make_predictions(1)[0],
        report="Findings: There is edema. A rib fracture. No pneumothorax.",
        reference="Findings: There is edema. Large effusion.",
        reference_labels=label_by_word("edema effusion"),
    )
    page = render_page(document, [page_study([Image.new("L", (8, 8))], prediction, label_by_word)])
    assert '<mark class="agrees">There is edema.</mark>' in page
    assert '<mark class="extra">A rib fracture.</mark>' in page
    assert '<mark class="missed">Large effusion.</mark>' in page
    assert "No pneumothorax.</mark>" not in page
    assert re.search(r'<span class="chip missed">Pleural Effusion</span>', page)


def test_a_named_finding_that_nobody_looked_for_is_not_called_wrong(document):
    labels = [-100] * 14
    labels[4] = 0
    prediction = dataclasses.replace(
        make_predictions(1)[0], report="Findings: Large effusion. There is edema.", reference_labels=tuple(labels)
    )
    page = render_page(document, [page_study([Image.new("L", (8, 8))], prediction, label_by_word)])
    assert '<mark class="unlabelled">Large effusion.</mark>' in page
    assert '<mark class="extra">There is edema.</mark>' in page
    assert '<span class="chip unlabelled">Pleural Effusion</span>' in page
    assert '<span class="chip extra">Edema</span>' in page


def test_pictures_are_shrunk_not_enlarged(page):
    assert len(page) < 60_000


def test_empty_and_cut_off_reports_are_said_to_be_so(document):
    empty = dataclasses.replace(make_predictions(1)[0], report="", reference="", is_truncated=True)
    text = text_of(render_page(document, [page_study([Image.new("L", (8, 8))], empty, label_by_word)]))
    assert "Generated report, cut off at the longest length empty" in text
    assert "True report this study has no report" in text


def test_sentences_keep_their_section_and_their_findings():
    sentences = stated_sentences("Findings: Edema is 1.5 cm. Possible effusion! Impression: Clear.", label_by_word)
    assert [(sentence.text, sentence.section, sentence.findings) for sentence in sentences] == [
        ("Edema is 1.5 cm.", "Findings", (4,)),
        ("Possible effusion!", "Findings", (9,)),
        ("Clear.", "Impression", ()),
    ]


def test_a_numbered_list_is_split_after_its_items_not_after_its_numbers():
    sentences = stated_sentences("1. Edema. 2. No fracture.", label_by_word)
    assert [sentence.text for sentence in sentences] == ["1. Edema.", "2. No fracture."]
