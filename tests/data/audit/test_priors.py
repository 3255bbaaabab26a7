"""The audit counts prior studies and their changes, and finds prior studies that are wrong."""

import pytest
from PIL import Image

from data.audit.page import render_audit
from tests.helpers.audited import audited, phantom, png, row, write
from vlm.schema.findings import CHANGES, FINDING_INDEX

EFFUSION = FINDING_INDEX["Pleural Effusion"]


def prior(image, change="worse", days=3, report="Findings: Clear lungs."):
    changes = [-1] * 14
    changes[EFFUSION] = CHANGES.index(change)
    content = image if isinstance(image, bytes) else png(image)
    return {
        "prior_images": [{"bytes": content, "path": None}],
        "prior_view_positions": ["AP"],
        "prior_report": report,
        "prior_interval_days": days,
        "changes": changes,
    }


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    unchanged = {"findings": "The effusion is unchanged."}
    train = [
        row(0, phantom(0), **prior(phantom(30), days=1), **unchanged),
        row(1, phantom(1), **prior(phantom(31), "resolved", days=9)),
        row(2, phantom(2), **prior(phantom(2), days=None)),
        row(3, phantom(3), **prior(phantom(20))),
        row(4, phantom(4), **prior(b"damaged", report="Seen by Dr. Jane Doe on 03/04/2019.")),
        row(5, phantom(5), **unchanged),
    ]
    folder = tmp_path_factory.mktemp("audit") / "priors"
    return audited(write(folder, train=train, test=[row(20, phantom(20))], validation=[row(10, phantom(10))]))


def errors(document):
    return [problem["text"] for problem in document["verdict"]["problems"] if problem["severity"] == "error"]


def test_prior_studies_changes_and_intervals_are_counted(document):
    train = document["splits"]["train"]
    assert train["priors"] == 5
    assert train["changes"]["Pleural Effusion"] == dict.fromkeys(CHANGES, 0) | {"worse": 4, "resolved": 1}
    assert train["interval_days"] == {"lowest": 1, "median": 3, "highest": 9}
    assert document["splits"]["test"]["priors"] == 0


def test_a_prior_study_of_another_split_is_an_error(document):
    assert [one["study_id"] for one in document["priors"]["across_splits"]["listed"]] == ["study-3"]
    assert "1 prior study with an image of another split" in errors(document)


def test_a_prior_study_that_shows_the_study_itself_is_an_error(document):
    assert [one["study_id"] for one in document["priors"]["same_image"]["listed"]] == ["study-2"]
    assert "1 prior study with an image of the study itself" in errors(document)


def test_a_damaged_prior_image_is_reported(document):
    [damaged] = document["images"]["damaged"]["listed"]
    assert (damaged["study_id"], damaged["view"]) == ("study-4", 2)
    assert damaged["reason"].startswith("prior study: ")


def test_identifiers_in_the_report_of_the_prior_study_are_found(document):
    assert [one["study_id"] for one in document["identifiers"]["listed"]] == ["study-4"]


def test_only_studies_without_a_prior_study_must_not_compare(document):
    assert document["splits"]["train"]["reports_with_prior"] == 1


def test_the_page_shows_the_changes(document):
    page = render_audit(document, num_samples=1, seed=0)
    assert "Prior studies" in page
    assert "Prior studies with an image of another split: 1" in page
    assert "1 / 3 / 9" in page


def test_a_data_set_without_prior_studies_has_no_such_section(tmp_path):
    plain = audited(write(tmp_path / "plain", train=[row(0, Image.effect_noise((64, 64), 90).convert("L"))]))
    assert plain["priors"]["across_splits"]["count"] == 0
    assert 'id="priors"' not in render_audit(plain, num_samples=1, seed=0)
