"""A study's report as a DICOM structured report (SR), which an archive can store next to the images.

It is an Enhanced SR by template 2000 (Basic Diagnostic Imaging Report), which can hold numbers as well as text, and
which viewers show like a plain report. It is marked PARTIAL, UNVERIFIED and PRELIMINARY, and its observer is a device.
A report that a reader signed is marked COMPLETE, VERIFIED and FINAL, and the reader is a second observer.

An SR must refer to a study and its images. Therefore it is only possible for DICOM images, and the UIDs are included
even without identity; the patient's name, ID, sex, dates and the accession number are then blank. Some archives only
accept files with the patient's ID: export with identity for these.

A prior study has a section of its own, with its StudyInstanceUID as observation context (TID 1005) and its images,
which are pertinent other evidence. The changes since then are in the section of the probabilities.
"""

import re
from dataclasses import replace

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ComprehensiveSR,
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
    UIDRefContentItem,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes

from data.images.dicom.identifiers import DicomIdentifiers
from page.export.dicom_document import (
    MANUFACTURER,
    DocumentPlace,
    add_times,
    character_set,
    document_uid,
    equipment,
    evidence,
    place_by_content,
    prior_images,
    saved,
    source_images,
)
from page.export.fhir import OWN_SCHEME, SNOMED, own_code
from page.export.text import export_json
from page.study.findings import RecordedFinding
from page.study.record import NOT_A_DEVICE, StudyRecord, without_identity

CONTAINS = RelationshipTypeValues.CONTAINS
LANGUAGE = CodedConcept(value="en", scheme_designator="RFC5646", meaning="English")
_ORGANIZATION = "not stated"
"""The standard demands an organization for each person who verifies a report; the page does not ask for it."""


def export_sr(record: StudyRecord, *, include_identity: bool = False, place: DocumentPlace | None = None) -> bytes:
    """A DICOM file. The same record gives the same SOP instance, so sending it twice does not add a second report.

    `place` gives its series and UIDs instead.

    Raises:
        ValueError: no image is DICOM with its UIDs, or they belong to several studies or patients.
    """
    # Before the patient IDs are removed: this rejects images of several patients.
    source_images(record)
    record = record if include_identity else without_identity(record)
    content = _report(record, source_images(record))
    place = place or place_by_content(record, include_identity=include_identity)
    return sr_file(EnhancedSR, record, content, place, include_identity=include_identity)


def sr_file(
    kind: type[EnhancedSR] | type[ComprehensiveSR],
    record: StudyRecord,
    content: Dataset,
    place: DocumentPlace,
    *,
    include_identity: bool,
) -> bytes:
    """The file of a structured report with this document tree."""
    # The texts of the model are not in an edited document.
    texts = export_json(replace(record, original=("", "")), include_identity=include_identity)
    document = kind(
        evidence=[evidence(identifiers) for identifiers in (*source_images(record), *prior_images(record))],
        content=content,
        series_instance_uid=place.series_instance_uid,
        series_number=place.series_number,
        sop_instance_uid=place.sop_instance_uid,
        instance_number=place.instance_number,
        series_description="Machine-written report" if record.is_signed else "Machine-written draft report",
        **equipment(record),
        content_date=record.issued_at.date(),
        content_time=record.issued_at.time(),
        specific_character_set=character_set(texts),
        is_complete=record.is_signed,
        is_final=record.is_signed,
        is_verified=record.is_signed,
        verifying_observer_name=_person_name(record),
        verifying_organization=_ORGANIZATION,
        previous_versions=[place.predecessor] if place.predecessor else None,
    )
    if record.is_signed:
        [observer] = document.VerifyingObserverSequence
        observer.VerificationDateTime = record.edit.checked_at
    add_times(document, record)
    return saved(document)


def notices(record: StudyRecord) -> list[str]:
    """What the reader of a structured report has to know, most important first."""
    num_referred = len(source_images(record))
    texts = [record.status, NOT_A_DEVICE, record.calibration_note, *record.warnings]
    if num_referred < len(record.views):
        verb = "is" if num_referred == 1 else "are"
        texts.append(
            f"The model read {len(record.views)} images; {num_referred} of them {verb} DICOM and referenced here."
        )
    return texts


def device_context(record: StudyRecord) -> ObserverContext:
    """The model as the observer."""
    return ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=document_uid(f"device {record.model}"),
            name=MANUFACTURER,
            manufacturer_name=MANUFACTURER,
            model_name=record.model.name,
        ),
    )


def person_context(record: StudyRecord) -> ObserverContext | None:
    """The reader who signed; None if nobody did."""
    if not record.is_signed:
        return None
    reader = PersonObserverIdentifyingAttributes(name=_person_name(record))
    return ObserverContext(observer_type=codes.DCM.Person, observer_identifying_attributes=reader)


def _person_name(record: StudyRecord) -> str | None:
    """The whole name as family name: which part is which cannot be known. None if nobody signed."""
    if not record.is_signed:
        return None
    name = re.sub(r"[\\^=]", " ", record.edit.reader)
    return f"{name[:62]}^"


def _report(record: StudyRecord, referred: list[DicomIdentifiers]) -> ContainerContentItem:
    """The document tree: type and observers, then the sections, each a container with a heading."""
    headings = codes.cid7001
    root = ContainerContentItem(
        name=codes.cid7000.DiagnosticImagingReport, is_content_continuous=False, template_id="2000"
    )
    observers = [*device_context(record), *(person_context(record) or ())]
    sections = [
        _section(headings.Summary, [_text(codes.DCM.Comment, notice) for notice in notices(record)]),
        _section(headings.IndicationsForProcedure, _texts(codes.DCM.IndicationsForProcedure, record.indication)),
        _section(headings.CurrentProcedureDescriptions, [_image(identifiers) for identifiers in referred]),
        _section(headings.PriorProcedureDescriptions, _prior(record)),
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
    items = [*LanguageOfContentItemAndDescendants(LANGUAGE), *observers, *(part for part in sections if part)]
    root.ContentSequence = ContentSequence(items)
    return root


def _prior(record: StudyRecord) -> list[ContentItem]:
    """When the prior study was, its UID and its images; empty without one."""
    if record.prior is None:
        return []
    uid = record.prior.study_uid
    context = UIDRefContentItem(
        name=codes.DCM.ProcedureStudyInstanceUID, value=uid, relationship_type=RelationshipTypeValues.HAS_OBS_CONTEXT
    )
    images = [_image(identifiers) for identifiers in prior_images(record)]
    return [*([context] if uid else []), _text(codes.DCM.Comment, comparison(record)), *images]


def comparison(record: StudyRecord) -> str:
    """For a record with a prior study: what it was compared with."""
    return f"Compared with a prior study, {record.prior.interval_text or 'time unknown'}."


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
    item.ContentSequence = ContentSequence(
        [
            CodeContentItem(
                name=codes.DCM.Finding,
                value=finding_code(row.finding),
                relationship_type=RelationshipTypeValues.HAS_CONCEPT_MOD,
            ),
            _text(
                codes.DCM.Comment,
                f"Predicted {row.prediction} (threshold {row.threshold:.0%}); the report says: {row.statement}."
                + (f" Change since the prior study: {row.change_text}, not calibrated." if row.change else ""),
                RelationshipTypeValues.HAS_PROPERTIES,
            ),
        ]
    )
    return item


def finding_code(finding: str) -> CodedConcept:
    """The SNOMED CT code of a finding, or that of this project's own list."""
    snomed = SNOMED.get(finding)
    return CodedConcept(snomed[0], "SCT", snomed[1]) if snomed else CodedConcept(own_code(finding), OWN_SCHEME, finding)
