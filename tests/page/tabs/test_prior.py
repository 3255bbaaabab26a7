"""The slot for a prior study on the page: its images join the study, and it never stays for the next patient."""

from dataclasses import replace

import gradio as gr
import pytest

from page.study.upload import MAX_VIEWS
from page.tabs.session import Session
from page.tabs.settings import NO_PRIORS
from page.tabs.study import StudyTab
from page.tabs.views import LEAVE_OUT
from vlm.generator import GenerationOptions, ReportGenerator

pytestmark = [
    pytest.mark.usefixtures("gradio_cleanup"),
    pytest.mark.filterwarnings(
        "ignore:unclosed:ResourceWarning",
        "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning",
    ),
]
AUTO = ["auto"] * MAX_VIEWS
SETTINGS = (1, "f1", 90)
"""Number of candidates, and the operating point."""


def tab_of(checkpoint):
    with gr.Blocks(analytics_enabled=False) as blocks:
        tab = StudyTab(ReportGenerator.from_pretrained(checkpoint), GenerationOptions(max_new_tokens=8), [], None)
    return tab, blocks


@pytest.fixture(scope="module")
def tab(prior_checkpoint):
    return tab_of(prior_checkpoint)[0]


@pytest.fixture
def files(tmp_path, images):
    paths = [tmp_path / "now.png", tmp_path / "before.png", tmp_path / "other.png"]
    for path, image in zip(paths, images, strict=False):
        image.save(path)
    return [str(path) for path in paths]


@pytest.fixture
def both(tab, files):
    """The session with an image of the study and one of the prior study."""
    session = tab.add_files(Session(), files[:1])[tab.session]
    return tab.add_prior_files(session, files[1:2])[tab.session]


def test_prior_images_are_shown_beside_the_study_and_read_with_it(tab, both, files):
    assert [image.name for image in both.prior] == ["prior before.png"]
    changes = tab.add_prior_files(replace(both, prior=()), files[1:2])
    assert 'class="view prior"' in changes[tab.images]
    assert changes[tab.prior.views[0]]["label"] == "View of prior before.png"
    *_, last = tab.write_report(both, "", *SETTINGS, *AUTO, "The heart is enlarged.", "AP", *AUTO[1:])
    prior = last[tab.session].reading.prior
    assert prior.report == "Findings: The heart is enlarged."
    assert [image.view_position for image in prior.images] == ["AP"]
    assert "Change since the prior study" in last[tab.findings]


def test_prior_study_is_read_again_when_images_are_added_or_removed(tab, both, files):
    *_, last = tab.write_report(both, "", *SETTINGS, *AUTO, "", *AUTO)
    more = tab.add_prior_files(last[tab.session], files[2:])
    assert [image.name for image in more[tab.session].prior] == ["prior before.png", "prior other.png"]
    assert [image.name for image in more[tab.session].images] == ["now.png"]
    assert more[tab.session].reading is None
    assert more[tab.findings] == ""
    removed = tab.remove_prior(last[tab.session])
    assert (removed[tab.session].prior, removed[tab.prior.report]) == ((), "")
    assert [image.name for image in removed[tab.session].images] == ["now.png"]


def test_new_study_starts_without_the_prior_study_of_the_last_one(tab, both, files):
    before = tab.add_files(both, files[2:])
    assert before[tab.session].prior == both.prior
    assert tab.prior.report not in before  # it may be typed before the images are chosen
    *_, last = tab.write_report(both, "", *SETTINGS, *AUTO, "Clear.", *AUTO)
    after = tab.add_files(last[tab.session], files[2:])
    assert (after[tab.session].prior, after[tab.prior.report]) == ((), "")


@pytest.mark.parametrize(
    ("report", "views", "message"),
    [
        ("Clear.", [LEAVE_OUT] * MAX_VIEWS, "has a report or an interval, but no image"),
        ("x" * 10_001, AUTO, "has 10001 characters"),
    ],
)
def test_unusable_prior_study_is_explained(tab, both, report, views, message):
    [changes] = tab.write_report(both, "", *SETTINGS, *AUTO, report, *views)
    assert message in changes[tab.report]
    assert changes[tab.session] == both


def test_limits_and_reasons_hold_for_prior_files(tab, both, files, tmp_path):
    assert "7 images are more than the 6" in tab.add_prior_files(both, files[1:2] * 6)[tab.report]
    (tmp_path / "empty.dcm").touch()
    changes = tab.add_prior_files(both, [str(tmp_path / "empty.dcm")])
    assert "prior empty.dcm: is empty (0 bytes)" in changes[tab.report]
    assert changes[tab.session].prior == both.prior


def test_checkpoint_without_prior_support_hides_the_slot_and_says_so(tiny_checkpoint, prior_checkpoint):
    for checkpoint, is_shown in ((tiny_checkpoint, False), (prior_checkpoint, True)):
        _, blocks = tab_of(checkpoint)
        [slot] = [block for block in blocks.blocks.values() if block.elem_id == "prior"]
        assert slot.visible == is_shown
        notes = [block.value for block in blocks.blocks.values() if isinstance(block, gr.HTML)]
        assert any(NO_PRIORS in (note or "") for note in notes) != is_shown
