"""The web page without a browser: its API, its uploads, its accounts and its options."""

import base64
import hashlib
import json
import os
import signal
import socket
import stat
from dataclasses import replace
from pathlib import Path

import gradio as gr
import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import app
from app import AppOptions, build_app, main, serve
from data.images.read import read_image
from data.reports.structure import structured_report
from eval.checks.candidates import generate_reports
from page.accounts import write_account
from page.examples import NUM_SYNTHETIC, REAL_EXAMPLES
from page.report import main as report_program
from page.study.plain_text import plain_text
from page.study.read import DEFAULT_GENERATION, read_files
from tests.helpers.web.server import NUM_TOKENS, clean_up_after_gradio, free_port, pytestmark  # noqa: F401 (work by name)
from vlm.checkpoint.store import load_checkpoint, save_checkpoint
from vlm.generator import ReportGenerator
from vlm.schema.findings import FINDINGS
from vlm.schema.preprocessing import Preprocessing, preprocess
from vlm.uncertainty import NO_CHECK

WRITING = replace(DEFAULT_GENERATION, max_new_tokens=NUM_TOKENS)
UPLOAD_LIMIT = 300_000


def options_of(checkpoint, **settings):
    return AppOptions(checkpoint=str(checkpoint), port=free_port(), max_new_tokens=NUM_TOKENS, **settings)


@pytest.fixture(scope="module")
def generator(tiny_checkpoint):
    return ReportGenerator.from_pretrained(tiny_checkpoint)


@pytest.fixture(scope="module")
def image_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "chest.png"
    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(0, 256, (6, 5), dtype=np.uint8)).resize((50, 60)).save(path)
    return path


@pytest.fixture(scope="module")
def page(generator, tmp_path_factory):
    """The page, served; uploads are limited to UPLOAD_LIMIT bytes."""
    options = options_of(generator.name)
    page = build_app(generator, options, tmp_path_factory.mktemp("examples"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "MAX_ARCHIVE_BYTES", UPLOAD_LIMIT)
        serve(page, options)
    yield page
    page.close(verbose=False)


@pytest.fixture(scope="module")
def client(page, tmp_path_factory):
    return Client(page.local_url, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))


def test_api_returns_the_report_and_findings_of_the_generator(client, generator, image_file):
    files = [handle_file(image_file), handle_file(image_file)]
    answer = client.predict(files, "AP, lateral", "cough", api_name="/read")
    study = {"view_positions": [["AP", "LATERAL"]], "indications": ["cough"]}
    [expected] = generate_reports(generator, [[read_image(image_file)] * 2], options=WRITING, **study)
    assert answer["report"] == expected.report != ""
    assert (answer["findings"], answer["impression"]) == (plain_text(expected.findings), expected.impression)
    rows = answer["finding_probabilities"]
    assert [row["finding"] for row in rows] == list(FINDINGS)
    assert [row["probability"] for row in rows] == pytest.approx(expected.finding_probabilities, abs=1e-6)
    assert [row["predicted_positive"] for row in rows] == [row["probability"] >= row["threshold"] for row in rows]
    assert [view["view_position"] for view in answer["images"]] == ["AP", "LATERAL"]
    assert (answer["is_blocked"], answer["image_warnings"]) == (False, [])
    assert "Not a medical device" in answer["notice"]
    assert answer["ood_not_checked"] == NO_CHECK  # said at every read, and in the warnings of every export
    assert answer["warnings"][0] == f"Not checked whether the images resemble those of the training: {NO_CHECK}."


def test_the_command_line_writes_the_same_report(client, generator, image_file, capsys):
    answer = client.predict([handle_file(image_file)], "PA", "cough", api_name="/read")
    arguments = ["--checkpoint", generator.name, "--indication", "cough", "--view-positions", "PA"]
    assert report_program([str(image_file), *arguments, "--max-new-tokens", str(NUM_TOKENS)]) == 0
    assert capsys.readouterr().out.strip() == answer["report"].strip()


def test_api_returns_the_report_by_organ_system_too(client, image_file, monkeypatch):
    plain = client.predict([handle_file(image_file)], "PA", "cough", api_name="/read")
    assert plain["structured_report"] == structured_report(plain["report"])
    monkeypatch.setattr("page.api.structured_report", lambda report: f"By system: {report}")
    answer = client.predict([handle_file(image_file)], "PA", "cough", api_name="/read")
    assert answer["structured_report"] == f"By system: {plain['report']}"
    assert (answer["report"], answer["findings"]) == (plain["report"], plain["findings"])


@pytest.mark.parametrize("listed", [True, False])
def test_api_accepts_one_file_without_views_and_indication(client, image_file, listed):
    file = handle_file(image_file)
    answer = client.predict([file] if listed else file, api_name="/read")
    assert [view["view_position"] for view in answer["images"]] == ["UNKNOWN"]


def test_study_with_image_warnings_gets_its_report_only_on_request(client, dicom):
    knee = [handle_file(dicom(BodyPartExamined="KNEE"))]
    blocked = client.predict(knee, api_name="/read")
    assert (blocked["report"], blocked["is_blocked"]) == ("", True)
    assert "another part of the body than the chest" in blocked["image_warnings"][0]
    assert blocked["ood_not_checked"] == NO_CHECK
    assert client.predict(knee, write_anyway=True, api_name="/read")["report"]


def test_api_explains_a_rejected_file_and_continues(client, image_file, tmp_path):
    notes = tmp_path / "notes.png"
    notes.write_text("no image")
    with pytest.raises(AppError, match=r"notes\.png: its content is none of PNG, JPEG, WebP, TIFF and DICOM"):
        client.predict([handle_file(notes)], api_name="/read")
    with pytest.raises(AppError, match="No image yet"):
        client.predict(None, api_name="/read")
    assert client.predict([handle_file(image_file)], api_name="/read")["report"]


def test_api_rejects_a_path_on_the_server(page, image_file):
    def read(path):
        call = f"{page.local_url}gradio_api/call/read"
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        event = httpx.post(call, json={"data": [[file], "auto", "", False, None, "", "auto"]}).json()["event_id"]
        return httpx.get(f"{call}/{event}", timeout=60).text

    with image_file.open("rb") as file:
        [uploaded] = httpx.post(f"{page.local_url}gradio_api/upload", files={"files": file}).json()
    assert "event: complete" in read(uploaded)
    rejected = read(str(image_file))
    assert "event: error" in rejected
    assert "finding_probabilities" not in rejected


def test_api_uploads_are_removed_after_reading(client, image_file, monkeypatch):
    removed = []
    monkeypatch.setattr("page.api.remove_later", removed.extend)
    client.predict([handle_file(image_file)], api_name="/read")
    assert [Path(path).name for path in removed] == ["chest.png"]


def test_programs_are_offered_the_api_and_nothing_else(client):
    endpoints = client.view_api(return_format="dict", print_info=False)
    assert list(endpoints["named_endpoints"]) == ["/read", "/export", "/correct", "/worklist"]
    assert endpoints["unnamed_endpoints"] == {}


def test_each_endpoint_answers_a_program(client, image_file):
    read = client.predict([handle_file(image_file)], "PA", api_name="/read")
    exported = client.predict([handle_file(image_file)], "json", views="PA", api_name="/export")
    assert json.loads(base64.b64decode(exported["content"]))["findings"] == read["findings"]
    texts = {"findings": "Clear.", "impression": "Normal.", "reader": "Dr A"}
    corrected = client.predict([handle_file(image_file)], **texts, format="text", api_name="/correct")
    assert b"Dr A" in base64.b64decode(corrected["content"])
    worklist = client.predict([handle_file(image_file)] * 2, api_name="/worklist")
    assert [row["state"] for row in worklist["rows"]] == ["read", "read"]


@pytest.mark.parametrize("name", ["read", "export", "correct", "worklist"])
def test_files_of_the_server_are_no_uploads(page, client, image_file, name):
    for path in ("/etc/passwd", str(image_file), str(image_file.parent)):
        given = {"path": path, "meta": {"_type": "gradio.FileData"}}
        call = httpx.post(f"{page.local_url}gradio_api/call/{name}", json={"data": [[given]]})
        assert call.status_code >= 400 or "event: error" in _events(page, name, call.json()["event_id"])


def _events(page, name, event_id):
    return httpx.get(f"{page.local_url}gradio_api/call/{name}/{event_id}", timeout=30).text


def test_file_above_the_size_limit_is_rejected(page):
    def upload(num_bytes):
        return httpx.post(f"{page.local_url}gradio_api/upload", files={"files": ("scan.dcm", bytes(num_bytes))})

    assert upload(UPLOAD_LIMIT - 10_000).status_code == 200
    assert upload(UPLOAD_LIMIT + 10_000).status_code == 413


def test_no_user_data_is_stored_or_sent(page):
    config = httpx.get(f"{page.local_url}config").json()
    assert config["analytics_enabled"] is False
    assert config["run_history"] is False
    assert httpx.get(f"{page.local_url}monitoring").status_code in (403, 404)
    assert page.delete_cache == (60, 7200)
    assert page.state_session_capacity == 64
    assert page.share is False


def test_page_shows_real_and_synthetic_examples(page):
    [gallery] = [block for block in page.blocks.values() if isinstance(block, gr.Gallery)]
    assert len(gallery.value) == len(REAL_EXAMPLES) + NUM_SYNTHETIC


def test_images_are_preprocessed_like_the_training_images(tiny_checkpoint, generator, image_file, tmp_path):
    options = Preprocessing(clahe=True, normalize="minmax")
    checkpoint = load_checkpoint(tiny_checkpoint)
    checkpoint.model.config = replace(checkpoint.model.config, preprocessing=options)
    save_checkpoint(tmp_path / "best", checkpoint)
    other = ReportGenerator.from_pretrained(tmp_path / "best")
    plain = read_image(image_file)
    [expected] = generator.classify([[preprocess(plain, options)]])
    *_, reading = read_files(other, [image_file], options=WRITING)
    assert reading.report.finding_probabilities == pytest.approx(expected, abs=1e-6)
    assert expected != pytest.approx(generator.classify([[plain]])[0], abs=1e-3)


def test_program_files_and_other_uploads_have_no_guessable_url(page, image_file, tmp_path):
    with image_file.open("rb") as file:
        [uploaded] = httpx.post(f"{page.local_url}gradio_api/upload", files={"files": file}).json()
    digest = Path(uploaded).parent.name
    assert digest != hashlib.sha256(image_file.read_bytes()).hexdigest()  # salted: cannot be computed from the image
    folder = Path(uploaded).parent.parent
    for guess in (
        *("/etc/passwd", str(image_file), str(Path(app.__file__)), str(folder), f"{folder}/", f"{folder}/*"),
        str(folder / hashlib.sha256(image_file.read_bytes()).hexdigest() / "chest.png"),
        *(f"{uploaded}/../../../etc/passwd", "../app.py", "app.py", "..%2fapp.py"),
    ):
        for address in ("gradio_api/file=", "file=", "gradio_api/file/"):
            answer = httpx.get(f"{page.local_url}{address}{guess}")
            assert answer.status_code >= 400, guess


def test_only_accounts_of_the_file_can_log_in(tiny_checkpoint, image_file, tmp_path, tmp_path_factory):
    write_account(tmp_path / "accounts.txt", "anna", "correct horse")
    options = options_of(tiny_checkpoint, auth=tmp_path / "accounts.txt")
    page = build_app(ReportGenerator.from_pretrained(tiny_checkpoint), options, tmp_path_factory.mktemp("examples"))
    serve(page, options)
    try:
        with image_file.open("rb") as file:
            assert httpx.post(f"{page.local_url}gradio_api/upload", files={"files": file}).status_code == 401
        for name in ("read", "export", "correct", "worklist"):
            assert httpx.post(f"{page.local_url}gradio_api/call/{name}", json={"data": []}).status_code == 401
        config = httpx.get(f"{page.local_url}config")
        assert config.status_code == 401 or "dependencies" not in config.json()
        for name, password in (("anna", "wrong horse"), ("bob", "correct horse"), ("", "")):
            login = httpx.post(f"{page.local_url}login", data={"username": name, "password": password})
            assert login.status_code in (400, 422)
        client = Client(page.local_url, auth=("anna", "correct horse"), verbose=False)
        assert client.predict([handle_file(image_file)], api_name="/read")["report"]
    finally:
        page.close(verbose=False)


def test_twenty_parallel_requests_each_get_their_own_answer(page, generator, tmp_path):
    """Each request has another image and gets the report of that image."""
    rng = np.random.default_rng(5)
    paths = []
    for number in range(20):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(rng.integers(0, 256, (40, 40), dtype=np.uint8)).save(paths[-1])
    clients = [Client(page.local_url, verbose=False) for _ in range(4)]
    jobs = [
        clients[number % 4].submit([handle_file(path)], "PA", f"study {number}", api_name="/read")
        for number, path in enumerate(paths)
    ]
    answers = [job.result(timeout=60) for job in jobs]
    for number, (path, answer) in enumerate(zip(paths, answers, strict=True)):
        assert answer["indication"] == f"study {number}"
        [expected] = generator.classify([[read_image(path)]], view_positions=[["PA"]])
        given = [row["probability"] for row in answer["finding_probabilities"]]
        assert given == pytest.approx(expected, abs=1e-5)


def test_program_serves_the_page_and_deletes_all_uploads(tiny_checkpoint, image_file, monkeypatch, capsys):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "restored after the test")
    answers = []

    def use(page):
        title = httpx.get(f"{page.local_url}config").json()["title"]
        with image_file.open("rb") as file:
            [upload] = httpx.post(f"{page.local_url}gradio_api/upload", files={"files": file}).json()
        answers.extend([title, Path(upload), Path(os.environ["GRADIO_TEMP_DIR"])])
        assert answers[1].is_file()
        assert stat.S_IMODE(answers[2].stat().st_mode) == 0o700
        page.close(verbose=False)

    monkeypatch.setattr(gr.Blocks, "block_thread", use)
    port = free_port()
    main(["--checkpoint", str(tiny_checkpoint), "--port", str(port)])
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    title, upload, folder = answers
    assert title == "cxrscribe"
    assert upload.is_relative_to(folder)
    assert not folder.exists()
    out = capsys.readouterr().out
    assert f"cxrscribe runs at http://127.0.0.1:{port}/" in out
    assert "Not a medical device" in out


def test_error_names_a_port_in_use(tiny_checkpoint, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "restored after the test")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"--port {port} of --host 127.0.0.1 cannot be used"):
            main(["--checkpoint", str(tiny_checkpoint), "--port", str(port)])


def test_error_names_the_missing_file_of_a_checkpoint(tiny_checkpoint, tmp_path):
    checkpoint = tmp_path / "best"
    checkpoint.mkdir()
    config = json.loads((tiny_checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=str(checkpoint / "calibration.json")):
        main(["--checkpoint", str(checkpoint)])


def test_invalid_number_of_threads_is_rejected():
    with pytest.raises(ValueError, match="--num-threads is 0"):
        AppOptions(num_threads=0)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"port": 0}, "--port 0 is not a port"),
        ({"num_candidates": 17}, "--num-candidates is 17; give 1 to 16"),
        ({"operating_point": "recall=0.9"}, "unknown operating point 'recall=0.9'"),
        ({"port": 70000}, "--port 70000 is not a port"),
        ({"examples": Path("nowhere")}, "--examples nowhere is not a folder"),
        ({"worklist_folder": Path("nowhere")}, "--worklist-folder nowhere is not a folder"),
    ],
)
def test_invalid_options_are_rejected(settings, problem):
    with pytest.raises(ValueError, match=problem):
        AppOptions(checkpoint="x", **settings)
