"""The web page's program: what visitors and programs get from it, and what it refuses, without a browser."""

import asyncio
import gc
import json
import os
import signal
import socket
import stat
import warnings
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import gradio as gr
import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import app
from app import AppOptions, Reader, build_app, main, serve
from data.images import read_image
from page.examples import NUM_MADE_UP
from vlm.checkpoint import load_checkpoint, save_checkpoint
from vlm.findings import FINDINGS
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.preprocess import Preprocessing, preprocess

pytestmark = pytest.mark.filterwarnings(
    # Gradio leaves event loops and sockets to the garbage collector, and calls pandas in old ways.
    "ignore:unclosed:ResourceWarning",
    "ignore:'future.no_silent_downcasting' is deprecated",
    "ignore:The copy keyword is deprecated",
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning",
)
NUM_TOKENS = 24
WRITING = GenerationOptions(max_new_tokens=NUM_TOKENS)
UPLOAD_LIMIT = 300_000


@pytest.fixture(scope="module", autouse=True)
def sweep_up_after_gradio():
    """Its event loops and sockets go here, not in somebody else's test; so does the program's signal handler."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)
    asyncio.set_event_loop(None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def options_of(checkpoint, **settings):
    return AppOptions(checkpoint=str(checkpoint), port=free_port(), max_new_tokens=NUM_TOKENS, **settings)


@pytest.fixture(scope="module")
def generator(tiny_checkpoint):
    return ReportGenerator.from_pretrained(tiny_checkpoint)


@pytest.fixture(scope="module")
def picture_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "chest.png"
    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(0, 256, (6, 5), dtype=np.uint8)).resize((50, 60)).save(path)
    return path


@pytest.fixture(scope="module")
def page(generator, tmp_path_factory):
    """The page, served; uploads are limited to UPLOAD_LIMIT bytes."""
    options = options_of(generator.name)
    page = build_app(generator, options, tmp_path_factory.mktemp("examples"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "MAX_FILE_BYTES", UPLOAD_LIMIT)
        serve(page, options)
    yield page
    page.close(verbose=False)


@pytest.fixture(scope="module")
def client(page, tmp_path_factory):
    return Client(page.local_url, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))


def test_a_program_gets_the_report_and_findings_that_the_generator_gives(client, generator, picture_file):
    answer = client.predict(handle_file(picture_file), "AP", "cough", api_name="/read")
    [expected] = generator.generate(
        [[read_image(picture_file)]], view_positions=[["AP"]], indications=["cough"], options=WRITING
    )
    assert answer["report"] == expected.report != ""
    assert (answer["findings"], answer["impression"]) == (expected.findings, expected.impression)
    assert answer["is_truncated"] == expected.is_truncated
    assert [row["finding"] for row in answer["finding_scores"]] == list(FINDINGS)
    probabilities = [row["probability"] for row in answer["finding_scores"]]
    assert probabilities == pytest.approx(expected.finding_probabilities, abs=1e-6)
    assert [row["called"] for row in answer["finding_scores"]] == [probability >= 0.5 for probability in probabilities]
    assert answer["is_calibrated"] is True
    assert "Not a medical device" in answer["notice"]


def test_view_and_indication_may_be_left_out(client, picture_file):
    assert client.predict(handle_file(picture_file), api_name="/read")["view_position"] == "UNKNOWN"


def test_a_refused_file_is_told_in_words_and_the_page_goes_on(client, picture_file, tmp_path):
    notes = tmp_path / "notes.png"
    notes.write_text("no picture")
    with pytest.raises(AppError, match=r"notes\.png: its content is none of PNG, JPEG, WebP, TIFF and DICOM"):
        client.predict(handle_file(notes), api_name="/read")
    with pytest.raises(AppError, match="No picture yet"):
        client.predict(None, api_name="/read")
    assert client.predict(handle_file(picture_file), api_name="/read")["report"]


def test_a_path_on_the_server_is_no_upload(page, picture_file):
    def read(path):
        call = f"{page.local_url}gradio_api/call/read"
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        event = httpx.post(call, json={"data": [file, "auto", ""]}).json()["event_id"]
        return httpx.get(f"{call}/{event}", timeout=60).text

    with picture_file.open("rb") as file:
        [uploaded] = httpx.post(f"{page.local_url}gradio_api/upload", files={"files": file}).json()
    assert "event: complete" in read(uploaded)
    refused = read(str(picture_file))
    assert "event: error" in refused
    assert "finding_scores" not in refused


def test_reading_is_the_only_thing_offered_to_programs(client):
    endpoints = client.view_api(return_format="dict", print_info=False)
    assert list(endpoints["named_endpoints"]) == ["/read"]
    assert endpoints["unnamed_endpoints"] == {}


def test_a_file_above_the_limit_is_not_taken(page):
    def upload(num_bytes):
        return httpx.post(f"{page.local_url}gradio_api/upload", files={"files": ("scan.dcm", bytes(num_bytes))})

    assert upload(UPLOAD_LIMIT - 10_000).status_code == 200
    assert upload(UPLOAD_LIMIT + 10_000).status_code == 413


def test_nothing_about_visitors_is_kept_or_sent(page):
    config = httpx.get(f"{page.local_url}config").json()
    assert config["analytics_enabled"] is False
    assert config["run_history"] is False
    assert httpx.get(f"{page.local_url}monitoring").status_code in (403, 404)
    assert page.delete_cache == (300, 1800)
    assert page.share is False


def test_the_page_offers_the_made_up_examples(page):
    [gallery] = [block for block in page.blocks.values() if isinstance(block, gr.Gallery)]
    assert len(gallery.value) == NUM_MADE_UP


def test_the_picture_is_sent_once_and_the_report_grows(generator, picture_file, monkeypatch):
    monkeypatch.setattr(app, "SHOW_EVERY_SECONDS", 0)
    reader = Reader(generator, options_of(generator.name))
    [expected] = generator.generate([[read_image(picture_file)]], options=WRITING)
    (picture, findings, first), *rest = reader.write_report(str(picture_file), "auto", "")
    assert picture.count("<img") == 1 + len(FINDINGS)
    assert findings.count("called present: ") == len(FINDINGS)
    assert all(part == gr.skip() for *parts, _ in rest for part in parts)
    reports = [first, *(report for *_, report in rest)]
    assert len(reports) == len(expected.tokens) + 1 + 1  # before the first token, and when it is done
    assert all(len(before) <= len(after) for before, after in pairwise(reports[:5]))
    assert expected.report.split()[0] not in first
    assert 'aria-busy="false"' in reports[-1]
    assert all('aria-busy="true"' in report for report in reports[:-1])


def test_a_fast_model_does_not_flood_the_browser(generator, picture_file, monkeypatch):
    monkeypatch.setattr(app, "SHOW_EVERY_SECONDS", 1000)
    steps = list(Reader(generator, options_of(generator.name)).write_report(str(picture_file), "auto", ""))
    assert len(steps) == 2


def test_a_refusal_clears_what_was_there_and_says_why(generator, tmp_path):
    (tmp_path / "empty.dcm").touch()
    reader = Reader(generator, options_of(generator.name))
    for shown in (
        *reader.write_report(str(tmp_path / "empty.dcm"), "auto", ""),
        reader.show_picture(str(tmp_path / "empty.dcm"), "PA"),
    ):
        picture, findings, report = shown
        assert "<img" not in picture
        assert findings == ""
        assert "empty.dcm: is empty (0 bytes); fetch or export it again" in report
        assert 'role="alert"' in report


def test_pressing_the_button_without_a_picture_says_what_to_do(generator):
    [(_, _, report)] = Reader(generator, options_of(generator.name)).write_report(None, "auto", "")
    assert "No picture yet: choose a file or click an example first." in report


def test_a_chosen_picture_is_shown_before_it_is_read(generator, picture_file):
    reader = Reader(generator, options_of(generator.name))
    picture, findings, report = reader.show_picture(str(picture_file), "lateral")
    assert picture.count("<img") == 1
    assert "lateral" in picture
    assert (findings, "Press" in report or "press" in report) == ("", True)


def test_pictures_are_treated_as_the_training_pictures_were(tiny_checkpoint, generator, picture_file, tmp_path):
    switches = Preprocessing(clahe=True, normalize="minmax")
    checkpoint = load_checkpoint(tiny_checkpoint)
    checkpoint.model.config = replace(checkpoint.model.config, preprocessing=switches)
    save_checkpoint(tmp_path / "best", checkpoint)
    reader = Reader(ReportGenerator.from_pretrained(tmp_path / "best"), options_of(tmp_path / "best"))
    plain = read_image(picture_file)
    [expected] = generator.classify([[preprocess(plain, switches)]])
    answer = reader.read(str(picture_file))
    probabilities = [row["probability"] for row in answer["finding_scores"]]
    assert probabilities == pytest.approx(expected, abs=1e-6)
    assert probabilities != pytest.approx(generator.classify([[plain]])[0], abs=1e-3)


def test_the_program_serves_the_page_and_leaves_no_upload_behind(tiny_checkpoint, picture_file, monkeypatch, capsys):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "restored after the test")
    answers = []

    def visit(page):
        title = httpx.get(f"{page.local_url}config").json()["title"]
        with picture_file.open("rb") as file:
            [upload] = httpx.post(f"{page.local_url}gradio_api/upload", files={"files": file}).json()
        answers.extend([title, Path(upload), Path(os.environ["GRADIO_TEMP_DIR"])])
        assert answers[1].is_file()
        assert stat.S_IMODE(answers[2].stat().st_mode) == 0o700
        page.close(verbose=False)

    monkeypatch.setattr(gr.Blocks, "block_thread", visit)
    port = free_port()
    main(["--checkpoint", str(tiny_checkpoint), "--port", str(port)])
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    title, upload, folder = answers
    assert title == "cxrscribe"
    assert upload.is_relative_to(folder)
    assert not folder.exists()
    out = capsys.readouterr().out
    assert f"cxrscribe is at http://127.0.0.1:{port}/" in out
    assert "Not a medical device" in out


def test_a_port_in_use_is_named(tiny_checkpoint, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "restored after the test")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"--port {port} of --host 127.0.0.1 cannot be used"):
            main(["--checkpoint", str(tiny_checkpoint), "--port", str(port)])


def test_a_checkpoint_that_fails_to_load_names_the_file(tiny_checkpoint, tmp_path):
    checkpoint = tmp_path / "best"
    checkpoint.mkdir()
    config = json.loads((tiny_checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=str(checkpoint / "calibration.json")):
        main(["--checkpoint", str(checkpoint)])


def test_without_a_checkpoint_the_demo_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="`make demo` makes it, or name a checkpoint folder"):
        AppOptions()
    Path("runs/demo/training/best").mkdir(parents=True)
    assert AppOptions().checkpoint == ""


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"port": 0}, "--port 0 is no port"),
        ({"port": 70000}, "--port 70000 is no port"),
        ({"num_threads": 0}, "--num-threads is 0"),
        ({"examples": Path("nowhere")}, "--examples nowhere is not a folder"),
    ],
)
def test_options_that_cannot_be_are_refused(settings, problem):
    with pytest.raises(ValueError, match=problem):
        AppOptions(checkpoint="x", **settings)
