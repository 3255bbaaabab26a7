"""Results reach the archive once, in whatever state it is: closed, rejecting, full, or there."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from types import SimpleNamespace

import pytest

pytest.importorskip("pynetdicom", reason="the extra `hospital` is not installed")

from pydicom import dcmread, uid

from page.node import send as send_module
from page.node.options import NodeOptions, parse_archive
from page.node.send import MAX_REFUSALS, deliver, make_senders
from page.node.states import Result
from page.node.store import NodeStore
from tests.helpers.dicom.files import saved
from tests.helpers.dicom.node import image_content, running_pacs


@pytest.fixture
def store(tmp_path):
    """A store with one result to send."""
    opened = NodeStore(tmp_path / "spool")
    opened.add_image("1.2", "1.2.1", b"one")
    opened.finish(opened.next_stable(0), results=[result(1)], report_key="key")
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(send_module, "MAX_PAUSE_SECONDS", 0)
    monkeypatch.setattr(send_module, "TIMEOUT_SECONDS", 5)


def result(number):
    document = dcmread(BytesIO(image_content(number)))
    document.SOPClassUID = document.file_meta.MediaStorageSOPClassUID = uid.ComprehensiveSRStorage
    return Result(
        kind="sr",
        sop_class_uid=document.SOPClassUID,
        series_uid=document.SeriesInstanceUID,
        sop_uid=document.SOPInstanceUID,
        content=saved(document),
    )


def senders_to(port):
    return make_senders(NodeOptions(pacs=f"127.0.0.1:{port}:PACS"))


def study_of(store):
    [study] = store.last_studies()
    return study


def test_result_is_sent_once(store):
    with running_pacs() as pacs:
        assert deliver(store, senders_to(pacs.port))
        assert not deliver(store, senders_to(pacs.port))
    assert (list(pacs.stored), pacs.num_requests) == (["1.2.826.1.1.1"], 1)
    assert study_of(store)["state"] == "sent"


def test_lost_file_is_named_and_the_other_results_are_sent(store):
    [lost] = store.due_results()
    lost.path.unlink()
    store.add_image("1.3", "1.3.1", b"two")
    store.finish(store.next_stable(0), results=[result(2)], report_key="key")
    with running_pacs() as pacs:
        for _ in range(MAX_REFUSALS):
            assert deliver(store, senders_to(pacs.port))
        assert not deliver(store, senders_to(pacs.port))
    assert list(pacs.stored) == ["1.2.826.2.1.1"]
    [failed] = [study for study in store.last_studies() if study["unsent_reasons"]]
    assert failed["unsent_reasons"] == ["its file is no longer in the spool"]


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # pynetdicom drops a socket that was refused
def test_closed_port_keeps_the_result_until_the_archive_is_back(store):
    with running_pacs() as pacs:
        port = pacs.port
    for _ in range(MAX_REFUSALS + 1):
        assert deliver(store, senders_to(port))
    study = study_of(store)
    assert study["state"] == "reported"
    assert study["unsent_reasons"] == [f"no association with 127.0.0.1:{port}: nothing listens there, or it aborted"]
    with running_pacs(port=port) as pacs:
        deliver(store, senders_to(port))
    assert len(pacs.stored) == 1
    assert study_of(store)["state"] == "sent"


def test_archive_that_is_full_is_asked_again_without_end(store):
    with running_pacs(status=0xA700) as pacs:
        for _ in range(MAX_REFUSALS + 1):
            assert deliver(store, senders_to(pacs.port))
        assert study_of(store)["unsent_reasons"] == ["the archive answered with status A700"]
        pacs.status = 0
        deliver(store, senders_to(pacs.port))
    assert study_of(store)["state"] == "sent"


def test_result_that_is_rejected_again_and_again_fails_with_the_reason(store):
    with running_pacs(status=0xC123) as pacs:
        for _ in range(MAX_REFUSALS):
            assert deliver(store, senders_to(pacs.port))
        assert not deliver(store, senders_to(pacs.port))
    assert pacs.num_requests == MAX_REFUSALS
    assert (study_of(store)["state"], study_of(store)["reason"]) == ("failed", "the archive answered with status C123")


def test_kind_that_the_archive_does_not_know_is_named(store):
    with running_pacs(sop_classes=[uid.EnhancedSRStorage]) as pacs:
        for _ in range(MAX_REFUSALS):
            deliver(store, senders_to(pacs.port))
    assert (study_of(store)["state"], study_of(store)["reason"]) == (
        "failed",
        "the archive does not accept Comprehensive SR Storage",
    )


def test_warning_of_the_archive_counts_as_sent(store):
    with running_pacs(status=0xB000) as pacs:
        deliver(store, senders_to(pacs.port))
    assert study_of(store)["state"] == "sent"


@contextmanager
def web_archive(status=200, failure=None):
    """An archive with STOW-RS; `requests` are the paths, headers and bodies that it got."""
    archive = SimpleNamespace(requests=[], status=status, url="")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            archive.requests.append((self.path, dict(self.headers), body))
            answer = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [failure]}}]}}
            content = json.dumps(answer if failure else {}).encode()
            self.send_response(archive.status)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    archive.url = f"http://127.0.0.1:{server.server_address[1]}/dicom-web"
    try:
        yield archive
    finally:
        server.shutdown()
        server.server_close()


def test_result_goes_by_stow_with_the_login(store, tmp_path):
    login = tmp_path / "login"
    login.write_text("node:secret\n")
    with web_archive() as archive:
        deliver(store, make_senders(NodeOptions(stow=archive.url, stow_auth=login)))
    [(path, headers, body)] = archive.requests
    assert path == "/dicom-web/studies"
    assert headers["Authorization"].startswith("Basic ")
    assert b"1.2.826.1.1.1" in body
    assert study_of(store)["state"] == "sent"


@pytest.mark.parametrize(
    ("status", "failure", "reason", "is_final"),
    [
        (503, None, "the archive answered with HTTP 503", False),
        (401, None, "the archive answered with HTTP 401", False),
        (415, None, "the archive answered with HTTP 415", True),
        (202, 0xA700, "the archive answered with failure A700", False),
        (202, 0x0110, "the archive answered with failure 0110", True),
    ],
)
def test_answers_of_stow(store, status, failure, reason, is_final):
    with web_archive(status=status, failure=failure) as archive:
        senders = make_senders(NodeOptions(stow=archive.url))
        for _ in range(MAX_REFUSALS + 1):
            deliver(store, senders)
    assert len(archive.requests) == MAX_REFUSALS + (not is_final)
    assert study_of(store)["unsent_reasons"] == [reason]
    assert study_of(store)["state"] == ("failed" if is_final else "reported")


def test_closed_stow_port_keeps_the_result(store):
    with web_archive() as archive:
        url = archive.url
    assert deliver(store, make_senders(NodeOptions(stow=url)))
    assert study_of(store)["unsent_reasons"] == ["no answer from --stow (ConnectionError)"]


def test_wrong_login_file_is_named(tmp_path):
    path = tmp_path / "login"
    path.write_text("only a name\n")
    with pytest.raises(ValueError, match=r'--stow-auth .* does not hold one line "name:password"'):
        make_senders(NodeOptions(stow="http://pacs", stow_auth=path))


@pytest.mark.parametrize(
    ("text", "parts"),
    [("pacs.example.org:104:PACS", ("pacs.example.org", 104, "PACS")), ("[::1]:104:MY PACS", ("::1", 104, "MY PACS"))],
)
def test_archive_is_parsed(text, parts):
    assert parse_archive(text) == parts
