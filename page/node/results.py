"""The files of a report to send: DICOM, in series and with UIDs of their own, and FHIR.

UIDs follow from the study, the model, the kind of file and the images that were used. So a report that is made again,
after a crash or in another spool, has the same UIDs and replaces the first one. With other images, it is a new instance
in the same series, which names the instance that it replaces. So is a report on the images of an older version, if
images of the last one can no longer be used: receivers would keep the older version.
"""

from collections.abc import Callable, Sequence
from io import BytesIO

from pydicom import Dataset, dcmread

from page.export.dicom_document import DocumentPlace, document_uid, reference
from page.export.encapsulated_pdf import export_encapsulated_pdf
from page.export.fhir_r4 import export_fhir_r4
from page.export.parametric_map import export_parametric_maps, map_uid
from page.export.sr import export_sr
from page.export.sr_measurements import export_sr_measurements
from page.node.options import Kind
from page.node.states import FHIR, Result, StableStudy
from page.study.record import StudyRecord

_SERIES_NUMBERS: dict[Kind, int] = {"sr": 9000, "sr-text": 9001, "pdf": 9002, "map": 9003}
_WRITERS: dict[Kind, Callable[..., bytes]] = {
    "sr": export_sr_measurements,
    "sr-text": export_sr,
    "pdf": export_encapsulated_pdf,
}


def build_results(record: StudyRecord, study: StableStudy, *, kinds: Sequence[str], report_key: str) -> list[Result]:
    """The files to send. They name the patient as the images do, so that the archive accepts them.

    Raises:
        ValueError: the images belong to several patients, or a kind is not possible; gives the reason.
    """
    results = []
    for kind in dict.fromkeys(kinds):
        series_uid = document_uid(f"node series {study.uid} {record.model.hash} {kind}")
        uid = _instance_uid(study, kind, report_key)
        if kind == FHIR:
            content = export_fhir_r4(record, include_identity=True, uid=uid).encode()
            results.append(Result(kind=kind, sop_class_uid="", series_uid=series_uid, sop_uid=uid, content=content))
            continue
        place = DocumentPlace(
            series_instance_uid=series_uid,
            sop_instance_uid=uid,
            series_number=_SERIES_NUMBERS[kind],
            instance_number=study.version + 1,
            predecessor=_predecessor(study, kind),
        )
        if kind == "map":
            contents = export_parametric_maps(record, place=place)
        else:
            contents = [_WRITERS[kind](record, include_identity=True, place=place)]
        results += [_result(kind, content) for content in contents]
    return results


def _instance_uid(study: StableStudy, kind: str, report_key: str) -> str:
    """The UID of a new file; no earlier version has it."""
    uid = document_uid(f"node instance {report_key} {kind}")
    if study.used_uids.isdisjoint([uid, *(map_uid(uid, image) for image in study.images)]):
        return uid
    return document_uid(f"node instance {report_key} {kind} version {study.version + 1}")


def _predecessor(study: StableStudy, kind: str) -> Dataset | None:
    """The last version of this kind of file; None without one."""
    if kind not in study.previous:
        return None
    sop_class_uid, series_uid, sop_uid = study.previous[kind]
    return reference(study.uid, series_uid, sop_class_uid, sop_uid)


def _result(kind: str, content: bytes) -> Result:
    header = dcmread(BytesIO(content), specific_tags=["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"])
    return Result(
        kind=kind,
        sop_class_uid=header.SOPClassUID,
        series_uid=header.SeriesInstanceUID,
        sop_uid=header.SOPInstanceUID,
        content=content,
    )
