"""The studies shown on the evaluation's page: marked sentences, pictures, long and empty reports."""

# ruff: noqa: F811 (fixtures are imported and then named as arguments)

import base64
import dataclasses
import io

from PIL import Image
from test_report_page import document, label_by_word, make_predictions, page, text_of  # noqa: F401 (fixtures)

from eval.page_study import page_study
from eval.report_page import render_page
from eval.sentences import stated_sentences


def test_sentences_are_marked_by_agreement_with_the_truth(document):
    prediction = dataclasses.replace(
        make_predictions(1)[0],
        report="Findings: There is edema. A rib fracture. No pneumothorax.",
        reference="Findings: There is edema. Large effusion.",
        reference_labels=label_by_word("edema effusion"),
    )
    page = render_page(document, [page_study([Image.new("L", (8, 8))], prediction, label_by_word)])
    assert '<mark class="agrees" title="in both: Edema">There is edema.</mark>' in page
    assert '<mark class="extra" title="added: Fracture"><u>A rib fracture.</u></mark>' in page
    assert '<mark class="missed" title="missed: Pleural Effusion"><u>Large effusion.</u></mark>' in page
    assert "<u>No pneumothorax.</u></mark>" not in page
    assert '<span class="chip missed">Pleural Effusion 20 %</span>' in page


def test_a_named_finding_that_nobody_looked_for_is_not_called_wrong(document):
    labels = [-100] * 14
    labels[4] = 0
    prediction = dataclasses.replace(
        make_predictions(1)[0], report="Findings: Large effusion. There is edema.", reference_labels=tuple(labels)
    )
    page = render_page(document, [page_study([Image.new("L", (8, 8))], prediction, label_by_word)])
    assert '<mark class="unlabelled" title="nobody looked for it: Pleural Effusion">' in page
    assert '<mark class="extra" title="added: Edema">' in page
    assert '<span class="chip unlabelled">Pleural Effusion 20 %</span>' in page
    assert '<span class="chip extra">Edema 80 %</span>' in page


def test_pictures_are_shrunk(document):
    noise = Image.effect_noise((2000, 1000), 50)
    [study] = [page_study([noise], one, label_by_word) for one in make_predictions(1)]
    assert len(study.pictures[0].source) < 120_000
    content = base64.b64decode(study.pictures[0].source.partition(",")[2])
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.size == (384, 192)


def test_a_very_long_report_is_cut_and_it_is_said(document):
    long = dataclasses.replace(make_predictions(1)[0], report="There is edema. " * 1000)
    page = render_page(document, [page_study([], long, label_by_word)])
    assert "10000 more characters are not shown" in text_of(page)


def test_views_bear_their_names(document):
    one = dataclasses.replace(make_predictions(1)[0], view_positions=("AP", "UNKNOWN"))
    study = page_study([Image.new("L", (8, 8))] * 2, one, label_by_word)
    assert [picture.title for picture in study.pictures] == ["AP", "view 2"]


def test_a_heatmap_has_the_boxes_of_its_finding_in_percent(page):
    assert page.count('<rect x="50.0" y="25.0" width="25.0" height="75.0"></rect>') == 3
    assert "Edema; dashed: where it truly is" in text_of(page)


def test_empty_and_cut_off_reports_are_said_to_be_so(document):
    empty = dataclasses.replace(make_predictions(1)[0], report="", reference="", is_truncated=True)
    text = text_of(render_page(document, [page_study([Image.new("L", (8, 8))], empty, label_by_word)]))
    assert "Generated report, cut off at the longest length empty: nothing was written" in text
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
