"""The receiver: what it takes, what it refuses, and that only what is on disk is acknowledged."""

import socket
import ssl
import subprocess
import time
from contextlib import contextmanager

import pytest

pytest.importorskip("pynetdicom", reason="the extra `hospital` is not installed")

from pydicom import uid
from pynetdicom import AE

from page.node import receive as receive_module
from page.node.options import NodeOptions
from page.node.receive import Receiver
from page.node.send import open_association
from page.node.store import NodeStore
from tests.helpers.dicom.node import NODE, image_content, send


@contextmanager
def receiving(folder, **settings):
    """The port of a receiver and its store."""
    store = NodeStore(folder / "spool")
    receiver = Receiver(NodeOptions(pacs="127.0.0.1:104:PACS", port=0, **settings), store)
    receiver.start()
    try:
        yield receiver.port, store
    finally:
        receiver.stop()
        store.close()


def counts(store):
    return store.summary()["counts"]


def test_images_of_two_associations_are_one_study(tmp_path):
    with receiving(tmp_path) as (port, store):
        assert send(port, [image_content(1, 1)]) == [0]
        assert send(port, [image_content(1, 2), image_content(2, 1)]) == [0, 0]
        studies = {study.uid: set(study.images) for study in (store.next_stable(0), store.next_stable(0))}
    assert studies == {"1.2.826.1": {"1.2.826.1.1.1", "1.2.826.1.1.2"}, "1.2.826.2": {"1.2.826.2.1.1"}}


def test_stored_file_is_the_one_that_was_sent(tmp_path):
    from data.images.read import read_image

    content = image_content(1)
    with receiving(tmp_path) as (port, store):
        assert send(port, [content]) == [0]
        [path] = store.next_stable(0).images.values()
        assert read_image(path).tobytes() == read_image(content).tobytes()


def test_echo_is_answered(tmp_path):
    with receiving(tmp_path) as (port, _):
        entity = AE()
        entity.add_requested_context("1.2.840.10008.1.1")
        with open_association(entity, "127.0.0.1", port, ae_title=NODE) as association:
            assert association.send_c_echo().Status == 0


def test_acknowledged_image_is_on_disk(tmp_path, monkeypatch):
    synced = []
    original = receive_module.NodeStore.add_image

    def add(self, *arguments):
        synced.append(original(self, *arguments))
        return synced[-1]

    monkeypatch.setattr(receive_module.NodeStore, "add_image", add)
    with receiving(tmp_path) as (port, store):
        assert send(port, [image_content(1)]) == [0]
        assert synced == ["new"]
        monkeypatch.setattr(receive_module.NodeStore, "add_image", _fail)
        assert send(port, [image_content(2)]) == [0xA700]
        assert [study["uid"] for study in store.last_studies()] == ["1.2.826.1"]


def _fail(*arguments):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("attributes", "status", "reason"),
    [
        ({"StudyInstanceUID": ""}, 0xC000, "refused_no_valid_study_or_series_uid"),
        ({"StudyInstanceUID": "patient^name"}, 0xC000, "refused_no_valid_study_or_series_uid"),
    ],
)
def test_image_without_a_study_is_refused_and_counted(tmp_path, attributes, status, reason):
    with receiving(tmp_path) as (port, store):
        assert send(port, [image_content(1, **attributes)]) == [status]
        assert counts(store) == {reason: 1}
        assert store.last_studies() == []


def test_other_kinds_of_objects_are_not_accepted(tmp_path):
    ct = image_content(1, SOPClassUID=uid.CTImageStorage)
    with receiving(tmp_path) as (port, _):
        assert send(port, [ct]) == []


@pytest.mark.parametrize(
    ("settings", "sender"),
    [
        ({"allow_ae": ("XRAY1",)}, {"calling": "OTHER"}),
        ({}, {"called": "WRONG"}),
    ],
)
def test_wrong_ae_titles_are_rejected(tmp_path, settings, sender):
    with receiving(tmp_path, **settings) as (port, store):
        assert send(port, [image_content(1)], **sender) == []
        end = time.monotonic() + 10
        while not counts(store) and time.monotonic() < end:  # it is counted after the answer
            time.sleep(0.02)
        assert counts(store) == {"refused_association_rejected": 1}


def test_address_that_is_not_allowed_is_closed_at_once(tmp_path):
    with receiving(tmp_path, allow_address=("10.1.0.0/16",)) as (port, store):
        assert send(port, [image_content(1)]) == []
        assert counts(store) == {"refused_address_not_allowed": 1}
    with receiving(tmp_path, allow_address=("10.1.0.0/16", "127.0.0.1"), allow_ae=("XRAY1",)) as (port, _):
        assert send(port, [image_content(1)], calling="XRAY1") == [0]


def test_image_over_the_size_limit_ends_the_association(tmp_path, monkeypatch):
    monkeypatch.setattr(receive_module, "MAX_FILE_BYTES", 2**20)
    monkeypatch.setattr(receive_module, "MAX_REQUEST_BYTES", 2**18)
    large = image_content(1, PixelData=bytes(2**21))
    with receiving(tmp_path) as (port, store):
        assert send(port, [large]) != [0]
        assert counts(store)["refused_image_too_large"] == 1
        assert send(port, [image_content(2)]) == [0]


def test_announced_length_of_gigabytes_is_not_read(tmp_path):
    with receiving(tmp_path) as (port, store):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.settimeout(10)
            connection.sendall(b"\x01\x00\xff\xff\xff\xff")
            assert connection.recv(1024)[:1] in (b"", b"\x07")  # closed, or aborted
        assert counts(store)["refused_image_too_large"] == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "1",
            ),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    return key, certificate


def test_tls_with_certificates_on_both_sides(tmp_path, certificate):
    key, own = certificate
    settings = {"tls_certificate": own, "tls_key": key, "tls_ca": own}
    client = ssl.create_default_context(cafile=own)
    with receiving(tmp_path, **settings) as (port, store):
        assert send(port, [image_content(1)], tls_args=(client, "127.0.0.1")) == []  # shows no certificate
        client.load_cert_chain(own, key)
        assert send(port, [image_content(1)], tls_args=(client, "127.0.0.1")) == [0]
        assert send(port, [image_content(2)]) == []  # no TLS
        assert counts(store)["images_new"] == 1


def test_silent_connection_blocks_nobody(tmp_path, certificate):
    key, own = certificate
    client = ssl.create_default_context(cafile=own)
    with (
        receiving(tmp_path, tls_certificate=own, tls_key=key) as (port, _),
        socket.create_connection(("127.0.0.1", port)),
    ):
        start = time.monotonic()
        assert send(port, [image_content(1)], tls_args=(client, "127.0.0.1")) == [0]
        assert time.monotonic() - start < receive_module.HANDSHAKE_SECONDS


def test_port_in_use_is_named(tmp_path):
    with receiving(tmp_path) as (port, store), pytest.raises(ValueError, match=f"--port {port} cannot be listened on"):
        Receiver(NodeOptions(pacs="127.0.0.1:104:PACS", port=port), store)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "--pacs HOST:PORT:AET or --stow URL, and perhaps --fhir-url URL"),
        ({"pacs": "pacs:104"}, "another form than HOST:PORT:AET"),
        ({"pacs": "pacs:104:PACS", "ae_title": "A TITLE THAT IS TOO LONG"}, "is no AE title"),
        ({"pacs": "pacs:104:PACS", "host": "0.0.0.0"}, "lets every machine send; say who may"),
        ({"pacs": "pacs:104:PACS", "allow_address": ("10.1.2",)}, "is no address and no network"),
        ({"stow": "pacs.example.org"}, "is no URL"),
        ({"pacs": "pacs:104:PACS", "tls_key": "key.pem"}, "belong together"),
        ({"pacs": "pacs:104:PACS", "pacs_tls": True}, "--pacs-tls needs"),
        ({"pacs": "pacs:104:PACS", "stable_seconds": -1}, "--stable-seconds is -1"),
    ],
)
def test_wrong_options_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        NodeOptions(**settings)
