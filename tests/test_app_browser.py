"""A study in a real browser: from upload to report, correction and download; users do not see each other."""

import re
import time
from dataclasses import replace
from pathlib import Path

from playwright.sync_api import expect

from data.images.read import read_image
from page.examples import REAL_EXAMPLES
from tests.helpers.corrections import corrections_of
from tests.helpers.web.browser import read, upload
from tests.helpers.web.server import clean_up_after_gradio, pytestmark  # noqa: F401 (work by name)
from vlm.generator import ReportGenerator
from vlm.schema.findings import NUM_FINDINGS


class Attacker(ReportGenerator):
    """A model that writes scripts."""

    text = "<script>hacked = 1</script><img src=x onerror='hacked = 1'> ${hacked = 1} {{hacked = 1}} {@html 'hacked'}"

    def generate_candidates(self, *arguments, **settings):
        studies = super().generate_candidates(*arguments, **settings)
        texts = dict.fromkeys(("report", "findings", "impression"), self.text)
        return [[replace(report, **texts) for report in reports] for reports in studies]


class Slow(ReportGenerator):
    """A slow model that counts its runs."""

    num_started = 0

    def stream(self, *arguments, **settings):  # the page begins with the findings of a stream
        Slow.num_started += 1
        return super().stream(*arguments, **settings)

    def generate_candidates(self, *arguments, **settings):
        time.sleep(3)
        return super().generate_candidates(*arguments, **settings)


def test_click_on_an_example_writes_its_report(open_page):
    page = open_page()
    page.locator("#examples button").nth(len(REAL_EXAMPLES) + 2).click()
    expect(page.locator("#report [data-reading]")).to_be_visible()
    assert "synthetic-3.png" in page.locator("figcaption").inner_text()
    expect(page.get_by_label("Indication")).not_to_have_value("")
    expect(page.locator("#findings label")).to_have_count(NUM_FINDINGS + 1)


def test_view_position_of_a_dicom_file_is_shown(open_page, dicom):
    page = open_page()
    read(page, dicom(ViewPosition="AP"))
    assert "frontal AP" in page.locator("figcaption").inner_text()


def test_image_with_a_warning_is_read_only_on_request(open_page, dicom):
    page = open_page()
    upload(page, [dicom(BodyPartExamined="KNEE")])
    expect(page.locator("#images .xray")).to_be_visible()
    page.get_by_role("button", name="Write the report").click()
    expect(page.locator("#image-warnings [role=alert]")).to_contain_text("BodyPartExamined KNEE")
    assert page.locator("#findings label").count() == 0
    page.get_by_role("button", name="Write it anyway").click()
    expect(page.locator("#report [data-reading]")).to_be_visible()
    expect(page.locator("#image-warnings [role=alert]")).to_contain_text("You requested the report anyway")


def test_report_is_corrected_and_downloaded(open_page, tall_image, corrections):
    page = open_page()
    read(page, tall_image)
    page.get_by_role("button", name="Correct this report").click()
    first = page.locator("#correction textarea").first
    first.fill("The heart is enlarged.")
    page.get_by_role("button", name="Add a sentence to impression").click()
    page.keyboard.type("Cardiomegaly.")
    page.get_by_role("button", name="Delete this sentence").first.focus()
    page.locator("select[data-finding=Edema]").select_option("absent")
    page.get_by_label("Your name").fill("Dr A")
    page.get_by_role("button", name="Save the correction").click()
    expect(page.get_by_role("status").filter(has_text="The correction is saved.")).to_be_visible()
    errors = page.locator(".report-errors li")
    expect(errors.filter(has_text="missing finding: cardiomegaly")).to_be_visible()
    [saved] = corrections_of(corrections, [read_image(tall_image)])
    assert saved.correction.findings.startswith("The heart is enlarged.")
    assert saved.correction.impression.endswith("Cardiomegaly.")
    assert saved.correction.reader == "Dr A"

    page.get_by_role("button", name="Download").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Text", exact=True).click()
    content = Path(download.value.path()).read_text(encoding="utf-8")
    assert download.value.suggested_filename.endswith(".txt")
    assert "Final. Written by a machine and edited, and checked by Dr A, " in content
    assert "The heart is enlarged." in content
    assert "Edema: absent" in content
    assert "tall.png" not in content


def test_rejected_file_is_explained_and_the_page_continues(open_page, tall_image, tmp_path):
    notes = tmp_path / "<b>notes.png"
    notes.write_text("no image")
    page = open_page()
    upload(page, [notes])
    alert = page.locator("#report [role=alert]")
    expect(alert).to_contain_text("notes.png: its content is none of PNG, JPEG, WebP, TIFF and DICOM")
    assert alert.locator("b").count() == 0
    page.get_by_role("button", name="Write the report").click()
    expect(alert).to_contain_text("No image yet")
    read(page, tall_image)
    expect(alert).to_have_count(0)
    page.get_by_role("button", name="New study").click()
    expect(page.locator("#images .xray")).to_have_count(0)
    expect(page.locator("#findings label")).to_have_count(0)


def test_model_output_is_escaped_and_never_runs(open_page, tall_image):
    page = open_page(kind=Attacker)
    upload(page, [tall_image])
    expect(page.locator("#images .xray")).to_be_visible()
    page.get_by_role("button", name="Write the report").click()
    expect(page.locator("#report [data-reading]")).to_be_visible()
    assert "<script>hacked = 1</script>" in page.locator("#report").inner_text()
    page.wait_for_timeout(300)
    assert page.evaluate("typeof hacked") == "undefined"


def test_second_session_sees_nothing_of_the_first(open_page, tall_image):
    first, second = open_page(), open_page()
    read(first, tall_image)
    second.reload()
    expect(second.get_by_role("button", name="Write the report")).to_be_visible()
    second.get_by_role("button", name="Write the report").click()
    expect(second.locator("#report [role=alert]")).to_contain_text("No image yet")
    assert second.locator("#images .xray").count() == 0


def test_images_that_are_uploaded_while_a_report_is_written_do_not_get_this_report(open_page, tall_image, square_image):
    page = open_page(kind=Slow)
    upload(page, [tall_image])
    expect(page.locator("#images .xray")).to_have_count(1)
    page.get_by_role("button", name="Write the report").click()
    expect(page.locator("#findings label").first).to_be_visible()
    upload(page, [square_image])
    expect(page.locator("figcaption")).to_contain_text("square.png")
    page.wait_for_timeout(8000)  # the report of the first image would be there
    assert page.locator("#report [data-reading]").count() == page.locator("#findings label").count() == 0
    page.get_by_role("button", name="Write the report").click()
    expect(page.locator("#report [data-reading]")).to_be_visible()
    expect(page.locator("figcaption")).to_contain_text("square.png")


def test_queue_position_is_shown_and_a_closed_browser_leaves_the_queue(open_page, tall_image, monkeypatch):
    monkeypatch.setattr(Slow, "num_started", 0)
    pages = [open_page(kind=Slow) for _ in range(3)]
    for page in pages:
        upload(page, [tall_image])
        expect(page.locator("#images .xray")).to_be_visible()
    first, second, third = pages
    first.get_by_role("button", name="Write the report").click()
    expect(first.locator("#report [aria-busy=true]")).to_be_visible()
    for page in (second, third):
        page.get_by_role("button", name="Write the report").click()
        expect(page.get_by_text(re.compile("^queue: "))).to_be_visible()
    assert "queue: 2/2" in third.get_by_text(re.compile("^queue: ")).inner_text()
    assert Slow.num_started == 1
    second.context.close()
    first.context.close()
    expect(third.locator("#report [aria-busy=true]")).to_be_visible()
    assert Slow.num_started == 2
