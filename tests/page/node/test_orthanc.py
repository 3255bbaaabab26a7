"""The node as a program beside Orthanc: 20 studies, over kill -9 of the node and a stop of the archive."""

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

pytest.importorskip("pynetdicom", reason="the extra `hospital` is not installed")

from page.node.store import NodeStore
from tests.helpers.dicom.node import image_content, send
from tests.helpers.dicom.orthanc import Orthanc, free_port, is_installed

pytestmark = pytest.mark.skipif(
    not is_installed(), reason="Orthanc is not installed (Debian's packages orthanc and orthanc-dicomweb)"
)
NUM_STUDIES, NUM_BAD = 20, 6


def study_files():
    """20 studies of one or two images. The first six cannot be read."""
    bad = [
        [image_content(100, BodyPartExamined="KNEE")],
        [image_content(101, PixelData=bytes(100))],
        [image_content(102, PresentationIntentType="FOR PROCESSING")],
        [image_content(103, ViewPosition="LL")],
        [image_content(104, PhotometricInterpretation="RGB")],
        [image_content(105, 1), image_content(105, 2, PatientID="OTHER")],
    ]
    good = [[image_content(number, 1, level=number)] for number in range(106, 120)]
    good[0].append(image_content(106, 2, ViewPosition="LL"))
    return bad + good


@contextmanager
def node_process(folder, checkpoint, port, pacs_port):
    """The node as its own process; killed at the end without a chance to clean up."""
    command = [sys.executable, "-m", "page.node", "--pacs", f"127.0.0.1:{pacs_port}:PACS", "--port", str(port)]
    command += ["--spool", str(folder / "spool"), "--checkpoint", str(checkpoint), "--stable-seconds", "1"]
    command += ["--max-new-tokens", "4"]
    process = subprocess.Popen([*command, "--status-port", "0"], stderr=subprocess.PIPE, text=True, env=os.environ)
    try:
        for line in process.stderr:
            if line.startswith("Listening on"):
                break
        else:
            pytest.fail("the node did not start")
        yield process
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def send_until_acknowledged(port, contents):
    """As a modality does: a file without an answer is sent again."""
    waiting = list(contents)
    while waiting:
        statuses = send(port, waiting)
        waiting = [
            content
            for content, status in zip(waiting, [*statuses, *[-1] * (len(waiting) - len(statuses))], strict=True)
            if status != 0
        ]


def test_no_study_is_lost_or_doubled_over_kill_and_stop(tmp_path, tiny_checkpoint):
    archive, port = Orthanc(tmp_path / "orthanc"), free_port()
    studies = study_files()
    first = [content for study in studies[:12] for content in study]
    second = [content for study in studies[12:] for content in study]
    archive.start()
    try:
        with node_process(tmp_path, tiny_checkpoint, port, archive.dicom_port):
            send_until_acknowledged(port, first)
            end = time.monotonic() + 60
            while not archive.find(Modality="SR"):  # killed between the studies
                assert time.monotonic() < end
                time.sleep(0.1)
        archive.stop()
        with node_process(tmp_path, tiny_checkpoint, port, archive.dicom_port):
            send_until_acknowledged(port, second)
            time.sleep(2)  # results wait for the archive
            archive.start()
            end = time.monotonic() + 120
            while len(archive.find(Modality="SR")) < NUM_STUDIES - NUM_BAD:
                assert time.monotonic() < end
                time.sleep(0.2)
            time.sleep(1)
        found = [instance["0020000D"]["Value"][0] for instance in archive.find(Modality="SR")]
    finally:
        archive.stop()
    assert sorted(found) == sorted(f"1.2.826.{number}" for number in range(106, 120))
    store = NodeStore(tmp_path / "spool")
    numbers, studies = store.summary()["studies"], store.last_studies()
    store.close()
    assert sum(numbers.values()) == NUM_STUDIES
    assert numbers["rejected"] == NUM_BAD
    assert numbers["sent"] + numbers["reported"] == NUM_STUDIES - NUM_BAD
    assert all(study["reason"] for study in studies if study["state"] == "rejected")
    assert not any(re.search(r"MRN|Doe", study["reason"]) for study in studies)
