"""Reports reach a FHIR server once, beside the archive, whatever the server answers."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

pytest.importorskip("pynetdicom", reason="the extra `hospital` is not installed")

from page.node import send as send_module
from page.node.options import NodeOptions
from page.node.send import MAX_REFUSALS, TOKEN_VARIABLE, deliver, make_senders
from page.node.service import running_node
from page.node.states import FHIR, Result
from page.node.store import NodeStore
from tests.helpers.dicom.node import image_content, running_pacs, send, wait_for
from vlm.generator import ReportGenerator

LOST = -1
"""Instead of a status: the server stores the report, and its answer is lost."""


@contextmanager
def fhir_server(*statuses, media_type="application/fhir+json"):
    """A server that creates a resource if none has the identifier of If-None-Exist. It first answers with `statuses`.
    `resources` are what it holds, by identifier; `requests` are the paths and headers that it got."""
    server = SimpleNamespace(resources={}, requests=[], statuses=list(statuses), url="")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            server.requests.append((self.path, dict(self.headers)))
            document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            planned = server.statuses.pop(0) if server.statuses else None
            if planned not in (None, LOST):
                return self.answer(planned)
            key = self.headers["If-None-Exist"].removeprefix("identifier=")
            assert key in {f"{one['system']}|{one['value']}" for one in document["identifier"]}
            is_new = key not in server.resources
            server.resources.setdefault(key, document)
            if planned == LOST:
                self.close_connection = True
                return self.connection.close()
            return self.answer(201 if is_new else 200)

        def answer(self, status):
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments):
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.handle_error = lambda *arguments: None  # the lost answer closes the socket under the server
    threading.Thread(target=web.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{web.server_address[1]}/r4"
    try:
        yield server
    finally:
        web.shutdown()
        web.server_close()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(send_module, "MAX_PAUSE_SECONDS", 0)
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)


@pytest.fixture
def store(tmp_path):
    """A store with one FHIR report to send."""
    opened = NodeStore(tmp_path / "spool")
    opened.add_image("1.2", "1.2.1", b"one")
    opened.finish(opened.next_stable(0), results=[fhir_result(1)], report_key="key")
    yield opened
    opened.close()


def fhir_result(number):
    identifier = {"system": "urn:ietf:rfc:3986", "value": f"urn:oid:2.25.{number}"}
    content = json.dumps({"resourceType": "DiagnosticReport", "identifier": [identifier]}).encode()
    return Result(kind=FHIR, sop_class_uid="", series_uid="2.25.9", sop_uid=f"2.25.{number}", content=content)


def senders_to(url, **settings):
    return make_senders(NodeOptions(fhir_url=url, **settings))


def study_of(store):
    [study] = store.last_studies()
    return study


def test_report_arrives_once_after_two_failures_and_a_lost_answer(store):
    with fhir_server(503, 500, LOST) as server:
        for state in ("reported", "reported", "reported", "sent"):
            assert deliver(store, senders_to(server.url))
            assert study_of(store)["state"] == state
        assert not deliver(store, senders_to(server.url))
    assert list(server.resources) == ["urn:ietf:rfc:3986|urn:oid:2.25.1"]
    assert len(server.requests) == 4
    assert {path for path, _ in server.requests} == {"/r4/DiagnosticReport"}
    assert server.requests[0][1]["Content-Type"] == "application/fhir+json"


@pytest.mark.parametrize(
    ("status", "reason", "is_final"),
    [
        (429, "the FHIR server answered with HTTP 429", False),
        (401, "the FHIR server answered with HTTP 401", False),
        (302, "the FHIR server answered with HTTP 302", True),
        (412, "the FHIR server answered with HTTP 412", True),
        (422, "the FHIR server answered with HTTP 422", True),
    ],
)
def test_report_that_the_server_rejects_again_and_again_fails_with_the_reason(store, status, reason, is_final):
    with fhir_server(*[status] * (MAX_REFUSALS + 1)) as server:
        senders = senders_to(server.url)
        for _ in range(MAX_REFUSALS + 1):
            deliver(store, senders)
    assert len(server.requests) == MAX_REFUSALS + (not is_final)
    assert study_of(store)["unsent_reasons"] == [reason]
    assert study_of(store)["state"] == ("failed" if is_final else "reported")


def test_web_page_is_not_taken_for_a_stored_report(store):
    with fhir_server(200, media_type="text/html; charset=utf-8") as server:
        deliver(store, senders_to(server.url))
    assert study_of(store)["unsent_reasons"] == ["the web page at --fhir-url answered with HTTP 200"]


def test_closed_port_keeps_the_report(store):
    with fhir_server() as server:
        url = server.url
    assert deliver(store, senders_to(url))
    assert study_of(store)["unsent_reasons"] == ["no answer from --fhir-url (ConnectionError)"]


def test_token_is_read_for_each_delivery(store, tmp_path, monkeypatch):
    token = tmp_path / "token"
    token.write_text("first\n")
    with fhir_server(401) as server:
        senders = senders_to(server.url, fhir_token=token)
        deliver(store, senders)
        token.write_text("second==\n")
        deliver(store, senders)
    assert [headers["Authorization"] for _, headers in server.requests] == ["Bearer first", "Bearer second=="]
    assert study_of(store)["state"] == "sent"


def test_token_can_be_in_the_environment(store, monkeypatch):
    monkeypatch.setenv(TOKEN_VARIABLE, "secret")
    with fhir_server() as server:
        deliver(store, senders_to(server.url))
    assert server.requests[0][1]["Authorization"] == "Bearer secret"


def test_report_waits_with_a_reason_if_the_file_of_the_token_goes_away(store, tmp_path):
    token = tmp_path / "token"
    token.write_text("first\n")
    with fhir_server() as server:
        senders = senders_to(server.url, fhir_token=token)
        token.unlink()
        deliver(store, senders)
    assert server.requests == []
    assert "cannot be read" in study_of(store)["unsent_reasons"][0]


@pytest.mark.parametrize(
    ("url", "token", "message"),
    [
        ("https://fhir", "two words", "--fhir-token .* holds no bearer token"),
        ("https://fhir", "", "--fhir-token .* holds no bearer token"),
        ("http://fhir.example.org", "secret", "unencrypted; give an https URL"),
    ],
)
def test_token_that_cannot_be_used_is_rejected_at_the_start(tmp_path, url, token, message):
    path = tmp_path / "token"
    path.write_text(token)
    with pytest.raises(ValueError, match=message):
        senders_to(url, fhir_token=path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fhir_url": "fhir.example.org"}, "--fhir-url fhir.example.org is no URL"),
        ({"fhir_url": "https://fhir/r4?tenant=1"}, "is no URL; give for example https://"),
        ({"pacs": "pacs:104:PACS", "stow": "https://pacs"}, "two ways to the archive"),
    ],
)
def test_wrong_receivers_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        NodeOptions(**settings)


def test_later_version_of_another_kind_does_not_wait(store):
    """The archive has not taken the first version; the FHIR server gets both, in their order."""
    store.add_image("1.2", "1.2.2", b"two")
    study = store.next_stable(0)
    dicom = Result(kind="sr", sop_class_uid="1.1", series_uid="1.3", sop_uid="1.3.2", content=b"sr")
    store.finish(study, results=[dicom, fhir_result(2)], report_key="key 2")
    with fhir_server() as server:
        for _ in range(2):
            deliver(store, senders_to(server.url))
    assert [key[-6:] for key in server.resources] == ["2.25.1", "2.25.2"]
    assert study_of(store)["state"] == "reported"
    assert study_of(store)["unsent_reasons"] == ["waits until the node has --pacs or --stow again"]


def test_node_sends_each_report_to_the_archive_and_to_the_fhir_server(tmp_path, tiny_checkpoint):
    generator = ReportGenerator.from_pretrained(tiny_checkpoint)
    with running_pacs() as pacs, fhir_server(500, 503) as server:
        options = NodeOptions(
            spool=tmp_path / "spool",
            pacs=f"127.0.0.1:{pacs.port}:PACS",
            fhir_url=server.url,
            port=0,
            status_port=0,
            stable_seconds=0,
            max_new_tokens=4,
        )
        with running_node(options, generator) as node:
            assert send(node.port, [image_content(1)]) == [0]
            wait_for(lambda: node.store.summary()["studies"]["sent"] == 1)
            assert node.store.summary()["results"] == {"waiting": 0, "sent": 2, "failed": 0}
    [document] = server.resources.values()
    assert len(pacs.stored) == 1
    patient, study = (
        next(one for one in document["contained"] if one["resourceType"] == kind)
        for kind in ("Patient", "ImagingStudy")
    )
    assert patient["identifier"] == [{"value": "MRN-1"}]
    assert study["identifier"][0]["value"] == "urn:oid:1.2.826.1"
    assert document["status"] == "preliminary"
