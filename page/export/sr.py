"""A study's report as a DICOM structured report (SR), which an archive can store next to the images.

It is an Enhanced SR by template 2000 (Basic Diagnostic Imaging Report), which can hold numbers as well as text, and
which viewers show like a plain report. It is marked PARTIAL, UNVERIFIED and PRELIMINARY, and its observer is a device.
A report that a reader signed is marked COMPLETE, VERIFIED and FINAL, and the reader is a second observer.

An SR must refer to a study and its images. Therefore it is only possible for DICOM images, and the UIDs are included
even without identity; the patient's name, ID, sex, dates and the accession number are then blank. Some archives only
accept files with the patient's ID: export with identity for these.
"""

import re
from dataclasses import replace
from io import BytesIO
from uuid import NAMESPACE_OID, uuid5

import highdicom
from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    EnhancedSR,
    ImageContentItem,
    LanguageOfContentItemAndDescendants,
    NumContentItem,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes

from data.images.dicom.identifiers import DicomIdentifiers
from page.export.fhir import OWN_SCHEME, SNOMED, own_code
from page.export.text import export_json
from page.study.record import NOT_A_DEVICE, RecordedFinding, StudyRecord, without_identity

CONTAINS = RelationshipTypeValues.CONTAINS
LANGUAGE = CodedConcept(value="en", scheme_designator="RFC5646", meaning="English")
_WESTERN, _UNICODE = "ISO_IR 100", "ISO_IR 192"
"""Character sets; many archives only support the first, so the second is used only if necessary."""
_ORGANIZATION = "not stated"
"""The standard demands an organization for each person who verifies a report; the page does not ask for it."""
_SERIES_NUMBER = 9000
"""Higher than those of the images."""


def export_sr(record: StudyRecord, *, include_identity: bool = False) -> bytes:
    """A DICOM file. The same record gives the same SOP instance, so sending it twice does not add a second report.

    Raises:
        ValueError: no image is DICOM with its UIDs, or they belong to several studies or patients.
    """
    # Before the patient IDs are removed: this rejects images of several patients.
    source = record.source
    record = record if include_identity else without_identity(record)
    held = [view.identifiers for view in record.views if view.identifiers]
    referred = {identifiers.sop_instance_uid: identifiers for identifiers in held if identifiers.refers_to_an_image}
    if source is None or not referred:
        raise ValueError(
            "a DICOM structured report must refer to images in an archive, and none of these is DICOM with its "
            "study, series and instance UIDs; read the original DICOM files, or export as PDF, FHIR, JSON or text"
        )
    referred = list(referred.values())
    # The key of the UIDs is the JSON export, which has all texts of the document.
    key = export_json(record, include_identity=include_identity)

    def uid(of: str) -> str:
        return highdicom.UID.from_uuid(str(uuid5(NAMESPACE_OID, f"cxrscribe {of}")))

    # The texts of the model are not in an edited document.
    texts = export_json(replace(record, original=("", "")), include_identity=include_identity)
    is_western = texts.encode("latin-1", "ignore").decode("latin-1") == texts
    document = EnhancedSR(
        evidence=[_evidence(identifiers) for identifiers in referred],
        content=_report(record, referred, device_uid=uid(f"device {record.model}")),
        series_instance_uid=uid(f"series {referred[0].study_instance_uid} {key}"),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=uid(f"instance {referred[0].study_instance_uid} {key}"),
        instance_number=1,
        series_description="Machine-written report" if record.is_signed else "Machine-written draft report",
        manufacturer="cxrscribe",
        manufacturer_model_name=record.model.name[-64:],
        software_versions=record.model.program_version,
        device_serial_number=record.model.hash[:64],
        content_date=record.issued_at.date(),
        content_time=record.issued_at.time(),
        specific_character_set=_WESTERN if is_western else _UNICODE,
        is_complete=record.is_signed,
        is_final=record.is_signed,
        is_verified=record.is_signed,
        verifying_observer_name=_person_name(record),
        verifying_organization=_ORGANIZATION,
    )
    if record.is_signed:
        [observer] = document.VerifyingObserverSequence
        observer.VerificationDateTime = record.edit.checked_at
    document.TimezoneOffsetFromUTC = f"{record.issued_at:%z}"
    document.InstanceCreationDate, document.InstanceCreationTime = document.ContentDate, document.ContentTime
    document.SeriesDate, document.SeriesTime = document.ContentDate, document.ContentTime
    for equipment in document.ContributingEquipmentSequence:
        equipment.ContributionDateTime = record.issued_at
    buffer = BytesIO()
    document.save_as(buffer)
    return buffer.getvalue()


def _person_name(record: StudyRecord) -> str | None:
    """The whole name as family name: which part is which cannot be known. None if nobody signed."""
    if not record.is_signed:
        return None
    name = re.sub(r"[\\^=]", " ", record.edit.reader)
    return f"{name[:62]}^"


def _evidence(identifiers: DicomIdentifiers) -> Dataset:
    """The part of an image's header that a reference to it needs."""
    header = Dataset()
    header.StudyInstanceUID, header.SeriesInstanceUID = identifiers.study_instance_uid, identifiers.series_instance_uid
    header.SOPClassUID, header.SOPInstanceUID = identifiers.sop_class_uid, identifiers.sop_instance_uid
    header.PatientID, header.PatientName = identifiers.patient_id, identifiers.patient_name
    header.PatientBirthDate, header.PatientSex = identifiers.patient_birth_date, identifiers.patient_sex
    header.StudyDate, header.StudyTime = identifiers.study_date, identifiers.study_time
    header.AccessionNumber = identifiers.accession_number
    header.StudyID = header.ReferringPhysicianName = ""
    return header


def _report(record: StudyRecord, referred: list[DicomIdentifiers], *, device_uid: str) -> ContainerContentItem:
    """The document tree: type and observer, then the sections, each a container with a heading."""
    headings = codes.cid7001
    root = ContainerContentItem(
        name=codes.cid7000.DiagnosticImagingReport, is_content_continuous=False, template_id="2000"
    )
    observer = ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=device_uid, name="cxrscribe", manufacturer_name="cxrscribe", model_name=record.model.name
        ),
    )
    if record.is_signed:
        reader = PersonObserverIdentifyingAttributes(name=_person_name(record))
        observer.extend(ObserverContext(observer_type=codes.DCM.Person, observer_identifying_attributes=reader))
    notices = [record.status, NOT_A_DEVICE, record.calibration_note, *record.warnings]
    if len(referred) < len(record.views):
        verb = "is" if len(referred) == 1 else "are"
        notices.append(
            f"The model read {len(record.views)} images; {len(referred)} of them {verb} DICOM and referenced here."
        )
    sections = [
        _section(headings.Summary, [_text(codes.DCM.Comment, notice) for notice in notices]),
        _section(headings.IndicationsForProcedure, _texts(codes.DCM.IndicationsForProcedure, record.indication)),
        _section(headings.CurrentProcedureDescriptions, [_image(identifiers) for identifiers in referred]),
        _section(
            headings.Findings,
            [
                *_texts(codes.DCM.Finding, record.written_findings),
                *(
                    _text(codes.DCM.Finding, f"{finding}: {state} (set by the reader)")
                    for finding, state in record.reader_states.items()
                ),
            ],
        ),
        _section(headings.Impressions, _texts(codes.DCM.Impression, record.impression)),
        _section(
            CodedConcept(value="PROBABILITIES", scheme_designator=OWN_SCHEME, meaning="Findings by probability"),
            [_probability(row) for row in record.by_probability],
        ),
    ]
    items = [*LanguageOfContentItemAndDescendants(LANGUAGE), *observer, *(part for part in sections if part)]
    root.ContentSequence = ContentSequence(items)
    return root


def _section(heading, items: list[ContentItem]) -> ContainerContentItem | None:
    if not items:
        return None
    section = ContainerContentItem(name=heading, is_content_continuous=False, relationship_type=CONTAINS)
    section.ContentSequence = ContentSequence(items)
    return section


def _texts(name, text: str) -> list[ContentItem]:
    return [_text(name, text)] if text else []


def _text(name, value: str, relationship=CONTAINS) -> TextContentItem:
    return TextContentItem(name=name, value=value, relationship_type=relationship)


def _image(identifiers: DicomIdentifiers) -> ImageContentItem:
    return ImageContentItem(
        name=codes.DCM.SourceImage,
        referenced_sop_class_uid=identifiers.sop_class_uid,
        referenced_sop_instance_uid=identifiers.sop_instance_uid,
        relationship_type=CONTAINS,
    )


def _probability(row: RecordedFinding) -> NumContentItem:
    """A number with "probability" in its name, so that it is not mistaken for a measurement."""
    code = own_code(row.finding)
    item = NumContentItem(
        name=CodedConcept(value=f"P{code[1:]}", scheme_designator=OWN_SCHEME, meaning=f"Probability of {row.finding}"),
        value=round(100 * row.probability, 1),
        unit=codes.UCUM.Percent,
        relationship_type=CONTAINS,
    )
    snomed = SNOMED.get(row.finding)
    finding = CodedConcept(snomed[0], "SCT", snomed[1]) if snomed else CodedConcept(code, OWN_SCHEME, row.finding)
    item.ContentSequence = ContentSequence(
        [
            CodeContentItem(
                name=codes.DCM.Finding, value=finding, relationship_type=RelationshipTypeValues.HAS_CONCEPT_MOD
            ),
            _text(
                codes.DCM.Comment,
                f"Predicted {row.prediction} (threshold {row.threshold:.0%}); the report says: {row.statement}.",
                RelationshipTypeValues.HAS_PROPERTIES,
            ),
        ]
    )
    return item
