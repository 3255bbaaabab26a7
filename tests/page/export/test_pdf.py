"""The PDF: its pages, its images, and texts with markup."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from pypdf import PdfReader

from page.export.pdf import export_pdf, missing_characters
from page.study.edit import Edit


def pages_of(record, **settings):
    return PdfReader(BytesIO(export_pdf(record, **settings))).pages


def text_of(record, **settings) -> str:
    return " ".join(" ".join(page.extract_text() for page in pages_of(record, **settings)).split())


def test_pages_are_a4_and_numbered_with_a_notice(recorded_study):
    pages = pages_of(replace(recorded_study, findings="\n".join(["A sentence of the report. " * 10] * 40)))
    assert len(pages) > 2
    for number, page in enumerate(pages, start=1):
        assert [round(float(side)) for side in page.mediabox[2:]] == [595, 842]
        assert f"Page {number} of {len(pages)}" in page.extract_text()
        assert "preliminary, machine-written · not a medical device" in page.extract_text()


def test_long_report_is_complete(recorded_study):
    sentences = [f"Sentence number {number} of a very long report." for number in range(900)]
    text = text_of(replace(recorded_study, findings=" ".join(sentences), warnings=(" ".join(sentences[:300]),)))
    assert text.count("Sentence number 899 ") == 1
    assert text.count("Sentence number 299 ") == 2


def test_word_longer_than_a_page_does_not_fail(recorded_study):
    endless = "x" * 20_000
    record = replace(recorded_study, findings=endless, warnings=(endless,), indication=endless)
    assert len(pages_of(record)) > 3


def test_pdf_shows_images_and_a_heatmap_for_each_positive_prediction(recorded_study):
    images = [image.image for page in pages_of(recorded_study) for image in page.images]
    sizes = sorted(image.size for image in images)
    # Two plain views, and the second view twice, because it has the attention.
    assert sizes == sorted([(40, 32), (32, 40), (32, 40), (32, 40)])
    colored = [np.ptp(np.asarray(image.convert("RGB"), dtype=int), axis=2).max() > 40 for image in images]
    assert sorted(colored) == [False, False, True, True]


def test_no_finding_has_no_heatmap(recorded_study):
    rows = tuple(
        replace(row, probability=0.9 if row.finding == "No Finding" else 0.1) for row in recorded_study.finding_rows
    )
    pages = pages_of(replace(recorded_study, finding_rows=rows))
    assert sum(len(page.images) for page in pages) == 2
    assert "Where the model looked" not in pages[0].extract_text()


def test_large_images_are_stored_at_reduced_size(recorded_study):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (2000, 1500), dtype=np.uint8))
    views = tuple(replace(view, image=noise) for view in recorded_study.views)
    pages = pages_of(replace(recorded_study, views=views))
    assert max(max(image.image.size) for page in pages for image in page.images) == 1024


@pytest.mark.parametrize("number", [1, 3, 4, 6])
def test_any_number_of_views_fits(recorded_study, number):
    views = tuple(recorded_study.views[index % 2] for index in range(number))
    maps = np.repeat(recorded_study.attention_maps[:, :1], number, axis=1)
    text = text_of(replace(recorded_study, views=views, attention_maps=maps))
    assert f"Image {number}: " in text


def test_markup_is_shown_as_text(recorded_study):
    markup = '<b>bold</b> <img src="/etc/passwd"/> &amp; <para> <a href="x">y</a> 5 < 6'
    texts = {"findings": markup, "indication": markup, "warnings": (markup,)}
    record = replace(recorded_study, **texts, edit=Edit(reader=markup))
    assert " ".join(text_of(record).split()).count(markup) == 3 + 2  # the reader is in the notice and the facts


def test_non_latin_characters_are_shown_and_missing_ones_counted(recorded_study):
    text = text_of(replace(recorded_study, findings="Größe ≥ 5 µm, Ωμέγα, плеврит"))
    assert "Größe ≥ 5 µm, Ωμέγα, плеврит" in text
    assert "missing in the font" not in text
    assert missing_characters("胸水 胸") == "水胸"
    assert "2 characters are missing in the font of this document" in text_of(
        replace(recorded_study, findings="胸水 胸")
    )


def test_pdf_metadata_has_no_patient_name(recorded_study):
    metadata = PdfReader(BytesIO(export_pdf(recorded_study, include_identity=True))).metadata
    assert metadata.title == "Chest X-ray report: preliminary draft"
    assert metadata.author == "cxrscribe"
    assert "Doe" not in str(metadata)
    assert str(metadata.creation_date).startswith("2000-01-01")
