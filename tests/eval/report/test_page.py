"""The page: self-contained, safe with any text, and with all scores."""

import base64
import dataclasses
import hashlib
import html.parser
import re
from xml.etree import ElementTree

import pytest
from PIL import Image

from eval.checks.consistency import consistency, consistency_document
from eval.checks.grounding import grounding, grounding_document
from eval.predictions.prediction import Prediction, Rejection
from eval.report.charts import roc_chart
from eval.report.figures import compare_systems, curve_pairs, error_table, score_groups
from eval.report.page import error_filter, origin, render_page
from eval.report.selection import WORST
from eval.report.study import HeatPanel, page_study
from eval.report.tables import error_lines
from eval.scoring.scores import METRICS
from tests.helpers.evaluations import EVIL, make_document, make_predictions
from vlm.schema.findings import FINDINGS
from vlm.schema.number_format import format_number

KNOWN = {"Edema", "Pleural Effusion", "Fracture", "No Finding"}


@pytest.fixture(scope="module")
def document():
    return make_document(make_predictions(), groups={"view": ["PA"] * 6 + ["AP"] * 6})


@pytest.fixture(scope="module")
def page(document):
    images = [Image.new("L", (600, 300), 90)]
    panels = [HeatPanel(finding=4, image=Image.new("RGB", (60, 30)), boxes=((0.5, 0.25, 0.75, 1.0),))]
    studies = [page_study(images, one, heat_panels=panels, group=WORST) for one in make_predictions(3)]
    return render_page(document, studies)


class Parser(html.parser.HTMLParser):
    """Collect the text and every address that a browser would fetch; fail on a tag closed out of order."""

    EMPTY = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self):
        super().__init__()
        self.addresses, self.tags, self.texts, self.open, self.styles, self.scripts = [], [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "action")]
        assert not [name for name, _ in attrs if name == "style" or name.startswith("on")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            self.styles.append(data)
        elif self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] not in ("title", "desc"):
            self.texts.append(data)


def parse(page: str) -> Parser:
    parser = Parser()
    parser.feed(page)
    assert parser.open == []
    return parser


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", " ".join(parse(page).texts))


def test_page_is_self_contained(page):
    addresses = parse(page).addresses
    images = [address for address in addresses if not address.startswith("#")]
    assert len(images) == 6
    assert all(address.startswith("data:image/webp;base64,") for address in images)
    assert "@import" not in page
    assert "url(" not in page


def test_every_link_has_a_target(page):
    targets = {address[1:] for address in parse(page).addresses if address.startswith("#")}
    assert targets >= {"figures", "findings", "limits"}
    assert all(f'id="{target}"' in page for target in targets)


def test_missing_section_is_not_linked():
    page = render_page(make_document(make_predictions()), [])
    targets = {address[1:] for address in parse(page).addresses}
    assert not targets & {"studies", "groups", "grounding", "consistency"}
    assert all(f'id="{target}"' in page for target in targets)


def test_content_policy_allows_only_the_style_and_the_script_of_the_page(page):
    [policy] = re.findall('Content-Security-Policy" content="([^"]*)"', page)
    [style], [script] = parse(page).styles, parse(page).scripts
    style_hash, script_hash = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)
    )
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"style-src 'sha256-{style_hash}'; script-src 'sha256-{script_hash}';" in policy
    assert "unsafe" not in policy


def test_verdict_comes_first(page, document):
    claim = document["verdict"]["image"].split(":")[0]
    assert f"<h1>{claim}</h1>" in page
    order = [
        "<h1>",
        'id="figures"',
        "<table",
        'id="findings"',
        'id="curves"',
        'id="groups"',
        'id="studies"',
        'id="origin"',
    ]
    places = [page.index(mark) for mark in order]
    assert places == sorted(places)


def test_every_score_is_on_the_page(page, document):
    text = text_of(page)
    for system in document["systems"].values():
        for metric, estimate in system["metrics"].items():
            if estimate["value"] is not None:
                assert format_number(estimate["value"]) in text, metric
    assert all(finding in text for finding in FINDINGS)


def test_finding_without_a_positive_case_is_listed_as_undefined(page):
    text = text_of(page)
    listed = text.split("No positive case, so the scores are undefined and not in the macro averages: ")[1].split(".")[
        0
    ]
    assert listed.split(", ") == [name for name in FINDINGS if name not in KNOWN]
    assert "macro over 4 of 14 findings" in text


def test_page_shows_how_the_evaluation_was_made(page):
    text = text_of(page)
    for fact in (
        "0123abcd",
        "4567cdef",
        "uncertain counts as positive",
        "headings dropped, lower case",
        "50 resamples",
    ):
        assert fact in text


def test_one_report_for_all_is_shown_first():
    same = [dataclasses.replace(one, report="Findings: There is edema.") for one in make_predictions()]
    page = render_page(make_document(same), [])
    assert '<div class="tile bad"><b>1</b><span>report, the same for all studies</span>' in page
    assert page.index("report, the same for all studies") < page.index("<table")


def test_many_different_reports_give_no_warning(page):
    assert '<div class="tile bad">' not in page


def test_control_as_good_as_the_model_is_marked():
    same = [dataclasses.replace(one, report="Findings: There is edema.") for one in make_predictions()]
    assert render_page(make_document(same), []).count('class="reached"') > 5


def test_only_metrics_of_change_are_compared_with_controls_of_the_prior_study(document):
    model = document["systems"]["model"]
    model = model | {"metrics": model["metrics"] | {"temporal_f1": {"value": 0.5, "low": 0.4, "high": 0.6}}}
    systems = {"model": model, "shuffled images": model, "no prior": model}
    document = document | {"systems": systems, "prior": {}}
    rows = {row["title"]: row["cells"] for group in score_groups(document) for row in group["rows"]}
    assert [cell["reached"] for cell in rows[METRICS["macro_f1"]]] == [False, True, False]
    assert [cell["reached"] for cell in rows[METRICS["temporal_f1"]]] == [False, True, True]
    names = [[row["name"] for row in compare_systems(document, one)["rows"]] for one in ("macro_f1", "temporal_f1")]
    assert names == [["model", "shuffled images"], ["model", "shuffled images", "no prior"]]


def test_control_better_than_the_model_is_named_in_the_verdict():
    warning = "The nearest neighbor does better than the model in macro-F1 (14): .700 against .600."
    page = render_page(make_document(make_predictions(), outperformed_by=warning), [])
    assert page.split('<p class="warning">')[1].split("</p>")[0] == warning
    assert page.index(warning) < page.index('<div class="tiles">')
    assert 'class="warning"' not in render_page(make_document(make_predictions()), [])


def test_empty_reports_are_counted():
    some = make_predictions()
    some[2] = dataclasses.replace(some[2], report="")
    assert "1 reports are empty" in text_of(render_page(make_document(some), []))


def test_rejected_studies_are_listed_with_their_reason():
    rejected = [Rejection(study_id=EVIL, reason="broken.png: no image")]
    text = text_of(render_page(make_document(make_predictions(), rejected=rejected), []))
    assert f"{EVIL} broken.png: no image" in text


def test_page_says_that_there_are_no_probabilities():
    plain = [dataclasses.replace(one, probabilities=None) for one in make_predictions()]
    text = text_of(render_page(make_document(plain), []))
    assert "the predictions have no probabilities" in text
    assert "Undefined for all systems and left out: all of “Probabilities of the classifier”." in text


def test_predictions_without_references_get_a_page():
    nothing = [Prediction(study_id=str(number), report="Clear.") for number in range(4)]
    text = text_of(render_page(make_document(nothing), [page_study([], nothing[0])]))
    assert "It is unknown whether the reports depend on the image" in text
    assert "Reference report this study has no report" in text


def test_page_shows_consistency_and_grounding():
    predictions = make_predictions()
    subjects = [one.subject_id for one in predictions]
    played = grounding(
        [[(0, 0.6, 0.5)] * 14] * 12, [[(4, 0, 0.5, 0.4, 0.9, 0.9)]] * 12, [one.reference_labels for one in predictions]
    )
    found = consistency(
        ["Findings: The heart is enlarged. The heart is not enlarged."] * 12, ["The heart is large."] * 12
    )
    text = text_of(
        render_page(
            make_document(
                predictions,
                grounding=grounding_document(played, subjects, num_resamples=50),
                consistency=consistency_document(found, subjects, subjects, num_resamples=50),
            ),
            [],
        )
    )
    assert "Edema 6 of 6" in text
    assert "Reports that state and deny the same finding 100.0%" in text
    assert "“The heart is enlarged.” – “The heart is not enlarged.”" in text


def test_errors_of_each_study_are_listed_in_plain_words(document):
    prediction = Prediction(
        study_id="one", report="Findings: No effusion. Unchanged.", reference="Findings: Moderate left effusion."
    )
    shown = text_of(render_page(document, [page_study([], prediction)]))
    assert "Errors in the generated report" in shown
    assert "missing finding: moderate left pleural effusion, which is denied (urgent)" in shown
    assert "false comparison: “Unchanged” (benign)" in shown
    without = page_study([], dataclasses.replace(prediction, reference=""))
    assert without.errors is None
    assert "Errors in the generated report" not in text_of(render_page(document, [without]))


def test_errors_by_kind_are_a_table_and_lines():
    predictions = [
        Prediction(study_id=f"s{number}", report="No pneumothorax.", reference=reference)
        for number, reference in enumerate(["Left pneumothorax.", "No effusion.", "Left effusion. Right PICC.", ""])
    ]
    document = make_document(predictions)
    table = error_table(document)
    assert [row["title"] for row in table["rows"][:2]] == ["missing finding", "missing device"]
    assert table["rows"][0]["model"].startswith(".667")
    assert "Which errors do the reports make?" in text_of(render_page(document, []))
    score, kinds = error_lines(document)
    assert score.startswith("Report error score .")
    assert kinds == "Errors per report: missing finding .667, missing device .333"


def test_older_documents_have_no_errors(document):
    older = {
        **document,
        "systems": {
            name: {
                **{key: value for key, value in system.items() if key != "errors"},
                "metrics": {key: value for key, value in system["metrics"].items() if not key.startswith("error")},
            }
            for name, system in document["systems"].items()
        },
    }
    assert error_table(older) is None
    assert error_lines(older) == []
    assert "Which errors" not in render_page(older, [])


def test_text_of_studies_is_escaped(document):
    evil = dataclasses.replace(make_predictions(1)[0], study_id=EVIL, report=f"Findings: edema {EVIL}.", reference=EVIL)
    page = render_page(document, [page_study([Image.new("L", (8, 8))], evil)])
    parser = parse(page)
    assert parser.tags.count("script") == 1
    assert 'alert("x")' not in "".join(parser.scripts)
    assert text_of(page).count(EVIL) >= 3
    assert "49" not in text_of(page).split(EVIL)[1]


def test_path_with_markup_is_escaped():
    page = render_page(make_document(make_predictions(), checkpoint="<b>runs</b>"), [])
    assert "b" not in parse(page).tags[:12]
    assert "<b>runs</b>" in text_of(page)


def test_filter_offers_the_kinds_of_errors_that_the_studies_have():
    reports = ["Findings: There is edema.", "Findings: Large left effusion.", "Findings: Large left effusion."]
    references = ["Findings: There is edema.", "Findings: Large right effusion.", ""]
    studies = [
        page_study([], dataclasses.replace(one, report=report, reference=reference))
        for one, report, reference in zip(make_predictions(3), reports, references, strict=True)
    ]
    assert error_filter(studies) == [
        ("", "all studies (3)"),
        ("any", "studies with errors (1)"),
        ("none", "studies without errors (1)"),
        ("wrong side", "wrong side (1)"),
    ]


def test_there_is_no_filter_without_references(document):
    studies = [page_study([], dataclasses.replace(make_predictions(1)[0], reference=""))]
    assert error_filter(studies) == []
    assert "study-tools" not in render_page(document, studies).split("</style>")[1].split("<script>")[0]


def test_point_of_the_thresholds_is_on_the_curve_and_in_words(document):
    [edema] = [pair for pair in curve_pairs(document) if pair["finding"] == "Edema"]
    assert edema["caption"].endswith("; sensitivity 1.000, specificity 1.000 at its threshold")
    chosen = ElementTree.fromstring(edema["roc"]).find(".//*[@class='point chosen']")
    corner = roc_chart([], title="", description="", chosen=(0.0, 1.0))
    assert (chosen.get("cx"), chosen.get("cy")) == re.search('cx="([^"]*)" cy="([^"]*)"', corner).groups()


def test_operating_point_of_the_run_is_in_words(document):
    run = document["run"] | {"operating_point": "sensitivity=0.9"}
    rows = dict(origin(document | {"run": run}))
    assert rows["Thresholds"] == "for a sensitivity of at least 90% on validation studies"
