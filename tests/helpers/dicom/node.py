"""A PACS in the test's own process, images to send to the node, a sender, and `wait_for`."""

import time
from contextlib import contextmanager
from io import BytesIO
from types import SimpleNamespace

import numpy as np
from pydicom import Dataset, dcmread, uid
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context

from page.node.send import open_association
from tests.helpers.dicom.files import content_of

PACS, NODE = "PACS", "CXRSCRIBE"
SR_TID_1500 = uid.ComprehensiveSRStorage
RESULT_CLASSES = (SR_TID_1500, uid.EnhancedSRStorage, uid.EncapsulatedPDFStorage, uid.ParametricMapStorage)


def image_content(study: int, image: int = 1, *, level: int = 90, **attributes) -> bytes:
    """A DICOM file of a frontal chest X-ray: a bright disc on a gradient, other ones for other levels."""
    rows, columns = np.mgrid[0:64, 0:56]
    disc = ((rows - 32) ** 2 + (columns - 28) ** 2 < 300) * 80
    pixels = (rows + columns + disc + level % 40).astype(np.uint8)
    header = {
        "StudyInstanceUID": f"1.2.826.{study}",
        "SeriesInstanceUID": f"1.2.826.{study}.1",
        "SOPInstanceUID": f"1.2.826.{study}.1.{image}",
        "PatientID": f"MRN-{study}",
        "PatientName": f"Doe^Jane{study}",
        "AccessionNumber": f"ACC{study}",
        "StudyDate": "20261129",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
    }
    return content_of(pixels, **header | attributes)


def send(port: int, contents: list[bytes], *, called: str = NODE, calling: str = "MODALITY", **settings) -> list[int]:
    """The statuses of one C-STORE for each file, in one association; [] if the association is rejected."""
    headers = [dcmread(BytesIO(content)) for content in contents]
    entity = AE(ae_title=calling)
    for sop_class in {header.SOPClassUID for header in headers}:
        entity.add_requested_context(sop_class, uid.ExplicitVRLittleEndian)
    entity.requested_contexts = list(
        {context.abstract_syntax: context for context in entity.requested_contexts}.values()
    )
    with open_association(entity, "127.0.0.1", port, ae_title=called, **settings) as association:
        if not association.is_established:
            return []
        statuses = []
        for header in headers:
            try:
                statuses.append(association.send_c_store(header).get("Status", -1))
            except RuntimeError:  # the node has ended the association
                statuses.append(-1)
        return statuses


@contextmanager
def running_pacs(*, port: int = 0, status: int = 0, sop_classes=RESULT_CLASSES):
    """`pacs.stored` are the data sets that it got, by SOP instance UID; `pacs.num_requests` counts all of them. Its
    answers have the status `pacs.status`."""
    pacs = SimpleNamespace(stored={}, num_requests=0, status=status, port=0)

    def on_store(event: evt.Event) -> int:
        pacs.num_requests += 1
        if pacs.status == 0:
            dataset: Dataset = event.dataset
            dataset.file_meta = event.file_meta
            pacs.stored[dataset.SOPInstanceUID] = dataset
        return pacs.status

    entity = AE(ae_title=PACS)
    contexts = [build_context(sop_class) for sop_class in sop_classes]
    server = entity.start_server(
        ("127.0.0.1", port), block=False, contexts=contexts, evt_handlers=[(evt.EVT_C_STORE, on_store)]
    )
    pacs.port = server.server_address[1]
    try:
        yield pacs
    finally:
        server.shutdown()


def wait_for(condition, *, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
