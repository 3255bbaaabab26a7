"""Similar cases on the page: shown for a finished report alone, as text and images that have no address."""

import shutil

import gradio as gr
import pytest

from eval.retrieval.index_cases import main
from eval.retrieval.similar_cases import SimilarCase
from page.tabs.actions import NUM_CASES, SimilarPanel, similar_html
from page.tabs.session import Visit, read_visit, take_in
from vlm.generator import GenerationOptions, ReportGenerator

pytestmark = [
    pytest.mark.usefixtures("swept_up_after_gradio"),
    pytest.mark.filterwarnings(
        "ignore:unclosed:ResourceWarning",
        "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning",
    ),
]


def panel_of(generator):
    with gr.Blocks(analytics_enabled=False):
        return SimilarPanel(gr.State(), generator)


def test_a_checkpoint_without_an_index_has_no_such_part(tiny_checkpoint):
    panel = panel_of(ReportGenerator.from_pretrained(tiny_checkpoint))
    assert (panel.parts, panel.hide()) == ([], {})


def test_the_nearest_training_studies_are_shown_for_a_finished_report(
    tiny_checkpoint, small_dataset, small_studies, tmp_path
):
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")
    main(["--checkpoint", str(folder), "--dataset", str(small_dataset)])
    generator = ReportGenerator.from_pretrained(folder)
    panel = panel_of(generator)
    small_studies["train"][3]["images"][0].save(tmp_path / "known.png")
    visit = take_in(Visit(), [tmp_path / "known.png"], generator)
    assert "Have a report written first" in panel.show(visit)
    *_, visit = read_visit(visit, generator, views=["auto"], indication="", options=GenerationOptions(max_new_tokens=8))
    shown = panel.show(visit)
    assert shown.count('src="data:image/webp;base64,') == NUM_CASES
    assert list(panel.hide().values()) == [""]


def test_reports_of_others_are_text_on_the_page():
    case = SimilarCase(study_id='"><script>', similarity=0.954, report="<b>", image=b"x")
    shown = similar_html([case])
    assert "<script>" not in shown
    assert "<b>" not in shown
    assert "similarity 0.95" in shown
    assert "It has no report." in similar_html([SimilarCase(study_id="a", similarity=1.0, report="", image=b"")])
