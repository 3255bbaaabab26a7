"""Similar cases on the page: only for a finished report, with escaped text and embedded images."""

import shutil
from dataclasses import replace

import gradio as gr
import pytest

from eval.retrieval.index_cases import main
from eval.retrieval.similar_cases import SimilarCase
from page.cards.layout import render
from page.study.read import read_study
from page.tabs.actions import NUM_CASES, SimilarPanel
from page.tabs.session import Session, add_images
from vlm.generator import GenerationOptions, ReportGenerator

pytestmark = [
    pytest.mark.usefixtures("gradio_cleanup"),
    pytest.mark.filterwarnings(
        "ignore:unclosed:ResourceWarning",
        "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning",
    ),
]


def panel_of(generator):
    with gr.Blocks(analytics_enabled=False):
        return SimilarPanel(gr.State(), generator)


def test_panel_is_empty_without_an_index(tiny_checkpoint):
    panel = panel_of(ReportGenerator.from_pretrained(tiny_checkpoint))
    assert panel.parts == []


def test_most_similar_training_studies_are_shown_for_a_finished_report(
    tiny_checkpoint, small_dataset, small_studies, tmp_path
):
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")
    main(["--checkpoint", str(folder), "--dataset", str(small_dataset)])
    generator = ReportGenerator.from_pretrained(folder)
    panel = panel_of(generator)
    small_studies["train"][3]["images"][0].save(tmp_path / "known.png")
    session = add_images(Session(), [tmp_path / "known.png"], generator)
    assert "Write a report first" in panel.show(session)
    *_, reading = read_study(generator, session.images, options=GenerationOptions(max_new_tokens=8))
    shown = panel.show(replace(session, reading=reading))
    assert shown.count('src="data:image/webp;base64,') == NUM_CASES


def test_text_of_similar_cases_is_escaped():
    case = SimilarCase(study_id='"><script>', similarity=0.954, report="<b>", image=b"x")
    shown = render("similar", cases=[case])
    assert "<script>" not in shown
    assert "<b>" not in shown
    assert "similarity 0.95" in shown
    assert "It has no report." in render(
        "similar", cases=[SimilarCase(study_id="a", similarity=1.0, report="", image=b"")]
    )
