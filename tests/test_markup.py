"""HTML of the page: whatever is said, by whomever, is text; heat lies where the attention is."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from page import markup
from page.picture import Picture
from vlm.calibration import Calibration
from vlm.findings import FINDING_INDEX, FINDINGS, NUM_FINDINGS
from vlm.generator import StudyReport

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(1)>\" onload='alert(1)"
REPORT = StudyReport(
    report="Findings: Clear lungs. Impression: Normal.",
    findings="Clear lungs.",
    impression="Normal.",
    finding_probabilities=(0.5,) * NUM_FINDINGS,
    attention_maps=np.zeros((NUM_FINDINGS, 1, 2, 2), dtype=np.float32),
    tokens=(),
    token_log_probabilities=(),
    is_truncated=False,
)
PICTURE = Picture(name="chest.png", image=Image.new("L", (40, 30), 90), view_position="AP")
CALIBRATED = Calibration(num_studies=120)


class Tags(HTMLParser):
    """Names of tags and attributes, and all text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text = set(), set(), ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize(
    ("harmless", "attacked"),
    [
        (markup.header("runs/best"), markup.header(ATTACK)),
        (markup.refusal("too small"), markup.refusal(ATTACK)),
        (markup.picture(PICTURE, []), markup.picture(replace(PICTURE, name=ATTACK), [])),
        (
            markup.picture(replace(PICTURE, warning="knee"), []),
            markup.picture(replace(PICTURE, warning=ATTACK), []),
        ),
        (
            markup.report(REPORT, is_done=True),
            markup.report(replace(REPORT, findings=ATTACK, impression=ATTACK), is_done=True),
        ),
        (
            markup.report(REPORT, is_done=False),
            markup.report(replace(REPORT, findings=ATTACK, impression=ATTACK), is_done=False),
        ),
    ],
)
def test_text_from_elsewhere_adds_no_tag_and_no_attribute(harmless, attacked):
    assert Tags(attacked).tags == Tags(harmless).tags
    assert Tags(attacked).attributes == Tags(harmless).attributes
    assert ATTACK in Tags(attacked).text


def test_the_picture_is_inside_the_page_with_its_view_said():
    html = markup.picture(PICTURE, [])
    content = re.search('src="data:image/webp;base64,([^"]+)"', html)[1]
    shown = Image.open(BytesIO(base64.b64decode(content)))
    assert shown.size == (40, 30)
    assert np.asarray(shown.convert("L")) == pytest.approx(90, abs=2)
    assert 'alt="Chest X-ray, frontal AP: chest.png"' in html


def test_heat_is_opaque_where_the_attention_is_and_clear_elsewhere():
    attention = np.zeros((NUM_FINDINGS, 1, 4, 4), dtype=np.float32)
    attention[3, 0, 3, 0] = 1
    layer = np.asarray(markup.heat_layers(attention, (512, 512), 64)[3])
    assert layer.shape == (256, 256, 4)
    assert layer[224:, :32, 3].min() > 200
    assert layer[:160, :, 3].max() < 8  # cubic interpolation rings a little
    assert layer[:, 128:, 3].max() < 8


def test_heat_has_the_shape_of_the_picture_not_of_the_square():
    attention = np.ones((NUM_FINDINGS, 1, 4, 4), dtype=np.float32)
    assert {layer.size for layer in markup.heat_layers(attention, (600, 300), 64)} == {(256, 128)}


def test_attention_that_points_nowhere_leaves_the_picture_clear():
    layers = markup.heat_layers(np.full((NUM_FINDINGS, 1, 4, 4), 1 / 16, dtype=np.float32), (64, 64), 32)
    assert np.asarray(layers[0])[:, :, 3].max() == 0


def rows_of(html):
    """(name, probability, threshold, called, chosen) of each finding as shown."""
    number = '<span class="unseen">{} </span>([0-9]+%)</span>'
    pattern = (
        r'id="choose-\d+"( checked)?><span class="name">([^<]+)</span>.*?'
        + number.format("probability")
        + ".*?"
        + number.format("threshold")
        + ".*?called present: </span>(yes|no)"
    )
    return [(name, *values, bool(chosen)) for chosen, name, *values in re.findall(pattern, html)]


def test_called_findings_come_first_then_by_probability_and_the_first_is_chosen():
    probabilities = [0.1] * NUM_FINDINGS
    thresholds = [0.5] * NUM_FINDINGS
    for name, probability, threshold in (("Edema", 0.62, 0.6), ("Fracture", 0.3, 0.25), ("Lung Lesion", 0.7, 0.8)):
        probabilities[FINDING_INDEX[name]], thresholds[FINDING_INDEX[name]] = probability, threshold
    rows = rows_of(markup.findings(probabilities, Calibration(thresholds=tuple(thresholds))))
    assert rows[:3] == [
        ("Edema", "62%", "60%", "yes", True),
        ("Fracture", "30%", "25%", "yes", False),
        ("Lung Lesion", "70%", "80%", "no", False),
    ]
    assert sorted(row[0] for row in rows) == sorted(FINDINGS)
    assert [row[0] for row in rows if row[4]] == ["Edema"]


def test_a_probability_at_its_threshold_is_called():
    assert all(row[3] == "yes" for row in rows_of(markup.findings((0.5,) * NUM_FINDINGS, Calibration())))


@pytest.mark.parametrize(
    ("probability", "shown"), [(0.0, "<1%"), (0.004, "<1%"), (0.006, "1%"), (0.994, "99%"), (0.996, ">99%")]
)
def test_no_probability_is_shown_as_certainty(probability, shown):
    html = markup.findings((probability,) * NUM_FINDINGS, Calibration())
    assert Tags(html).text.count(f"probability {shown}threshold") == NUM_FINDINGS


def test_no_finding_alone_chooses_no_heatmap():
    probabilities = [0.1] * NUM_FINDINGS
    probabilities[FINDING_INDEX["No Finding"]] = 0.9
    html = markup.findings(probabilities, Calibration())
    assert rows_of(html)[0][:4] == ("No Finding", "90%", "50%", "yes")
    assert not any(row[4] for row in rows_of(html))
    assert 'id="choose-none" checked' in html


def test_each_finding_has_a_style_rule_for_its_heatmap():
    style = markup.style()
    for index in range(NUM_FINDINGS):
        assert f"body:has(#choose-{index}:checked) .heat-{index} {{ opacity: var(--heat-opacity); }}" in style


def test_the_page_says_whether_probabilities_are_calibrated():
    probabilities = (0.5,) * NUM_FINDINGS
    assert "calibrated on 120 validation studies of the kind it was trained on" in markup.findings(
        probabilities, CALIBRATED
    )
    assert "Probabilities are not calibrated" in markup.findings(probabilities, Calibration())


def test_a_finished_report_has_both_sections_and_no_cursor():
    html = markup.report(REPORT, is_done=True)
    assert Tags(html).text == "Report machine-written draftFindingsClear lungs.ImpressionNormal."
    assert "cursor" not in html
    assert 'aria-busy="false"' in html


@pytest.mark.parametrize("started", ["I", "Impre", "Impression"])
def test_a_heading_that_is_being_written_is_not_shown_as_a_finding(started):
    written = replace(REPORT, findings=f"Clear lungs. {started}", impression="")
    assert started not in Tags(markup.report(written, is_done=False)).text.split()
    assert started in Tags(markup.report(written, is_done=True)).text.split()


def test_the_cursor_stands_in_the_section_that_is_being_written():
    nothing_yet = replace(REPORT, report="", findings="", impression="")
    findings_only = replace(REPORT, impression="")
    assert re.search("<h3>Findings</h3>[^/]*cursor", markup.report(nothing_yet, is_done=False))
    assert re.search("<h3>Findings</h3>[^/]*cursor", markup.report(findings_only, is_done=False))
    assert re.search("<h3>Impression</h3>[^/]*cursor", markup.report(REPORT, is_done=False))


def test_a_report_that_breaks_off_is_marked():
    assert "breaks off" in markup.report(replace(REPORT, is_truncated=True), is_done=True)
    assert "breaks off" not in markup.report(replace(REPORT, is_truncated=True), is_done=False)


def test_an_empty_report_is_said_to_be_empty():
    empty = replace(REPORT, report="", findings="", impression="")
    assert "The model wrote nothing." in markup.report(empty, is_done=True)
