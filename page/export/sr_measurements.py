"""A study's report as a DICOM structured report by template 1500 (Measurement Report), which most viewers show.

Each finding is a measurement group with its probability and what the classifier and the report say about it. The texts
of the report and all notices are qualitative evaluations, as the template demands for texts. The images of a prior
study are a second group of the image library, and the change since then is an evaluation of each finding.
`page.export.sr` writes the other template, 2000, and says how reports are marked.
"""

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ComprehensiveSR,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
    LanguageOfContentItemAndDescendants,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.sr.codedict import codes

from data.images.dicom.identifiers import DicomIdentifiers
from page.export.dicom_document import (
    DocumentPlace,
    document_uid,
    place_by_content,
    prior_images,
    source_images,
)
from page.export.fhir import OWN_SCHEME
from page.export.sr import (
    CONTAINS,
    LANGUAGE,
    comparison,
    device_context,
    finding_code,
    notices,
    person_context,
    sr_file,
)
from page.study.findings import RecordedFinding
from page.study.record import StudyRecord, without_identity

CHEST_X_RAY = CodedConcept(value="399208008", scheme_designator="SCT", meaning="Plain chest X-ray")
QUALITATIVE_EVALUATIONS = CodedConcept(value="C0034375", scheme_designator="UMLS", meaning="Qualitative Evaluations")
PROBABILITY = CodedConcept(value="PROBABILITY", scheme_designator=OWN_SCHEME, meaning="Probability of the finding")
THRESHOLD = CodedConcept(
    value="THRESHOLD", scheme_designator=OWN_SCHEME, meaning="Predicted positive from this probability on"
)
PREDICTION = CodedConcept(value="PREDICTION", scheme_designator=OWN_SCHEME, meaning="Prediction of the model")
CHANGE_PROBABILITY = CodedConcept(
    value="CHANGE_PROBABILITY", scheme_designator=OWN_SCHEME, meaning="Probability of the change, not calibrated"
)
CHANGE = CodedConcept(value="CHANGE", scheme_designator=OWN_SCHEME, meaning="Change since the prior study")
STATEMENT = CodedConcept(value="STATEMENT", scheme_designator=OWN_SCHEME, meaning="What the written report says")


def export_sr_measurements(
    record: StudyRecord, *, include_identity: bool = False, place: DocumentPlace | None = None
) -> bytes:
    """A DICOM file; see `page.export.sr.export_sr`.

    Raises:
        ValueError: no image is DICOM with its UIDs, or they belong to several studies or patients; or the model was
            trained on no finding.
    """
    source_images(record)  # Before the patient IDs are removed: this rejects images of several patients.
    record = record if include_identity else without_identity(record)
    if not record.finding_rows:
        raise ValueError("the model was trained on no finding, so there is nothing to measure; export as plain SR")
    place = place or place_by_content(record, include_identity=include_identity)
    [root] = MeasurementReport(
        observation_context=ObservationContext(
            observer_device_context=device_context(record), observer_person_context=person_context(record)
        ),
        procedure_reported=CHEST_X_RAY,
        imaging_measurements=[_finding(record, row, place) for row in record.by_probability],
        language_of_content_item_and_descendants=LanguageOfContentItemAndDescendants(LANGUAGE),
    )
    # highdicom writes neither evaluations of the whole study, nor an image library without the headers of the images.
    *context, measurements = root.ContentSequence
    library, evaluations = _image_library(source_images(record), prior_images(record)), _evaluations(record)
    root.ContentSequence = ContentSequence([*context, library, measurements, evaluations])
    return sr_file(ComprehensiveSR, record, root, place, include_identity=include_identity)


def _finding(record: StudyRecord, row: RecordedFinding, place: DocumentPlace) -> MeasurementsAndQualitativeEvaluations:
    """Probability and threshold in percent, the prediction, and what the report says."""
    evaluations = [(PREDICTION, row.prediction), (STATEMENT, row.stated)]
    if row.change:
        evaluations.append((CHANGE, row.change[0]))
    numbers = [(PROBABILITY, row.probability), (THRESHOLD, row.threshold)]
    if row.change:
        numbers.append((CHANGE_PROBABILITY, row.change[1]))
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=document_uid(f"{row.finding} in {place.sop_instance_uid}"), identifier=row.finding
        ),
        finding_type=finding_code(row.finding),
        measurements=[
            Measurement(name=name, value=round(100 * value, 1), unit=codes.UCUM.Percent) for name, value in numbers
        ],
        qualitative_evaluations=[
            QualitativeEvaluation(name=name, value=_own_value(value)) for name, value in evaluations
        ],
        source_images=[
            SourceImageForMeasurementGroup(
                referenced_sop_class_uid=image.sop_class_uid, referenced_sop_instance_uid=image.sop_instance_uid
            )
            for image in source_images(record)
        ],
    )


def _own_value(words: str) -> CodedConcept:
    return CodedConcept(value=words.upper().replace(" ", "_"), scheme_designator=OWN_SCHEME, meaning=words)


def _image_library(*studies: list[DicomIdentifiers]) -> ContainerContentItem:
    """A group for each study with images."""
    groups = [
        [
            ImageContentItem(
                name=CodedConcept(value="260753009", scheme_designator="SCT", meaning="Source"),
                referenced_sop_class_uid=image.sop_class_uid,
                referenced_sop_instance_uid=image.sop_instance_uid,
                relationship_type=CONTAINS,
            )
            for image in images
        ]
        for images in studies
        if images
    ]
    return _container(codes.DCM.ImageLibrary, [_container(codes.DCM.ImageLibraryGroup, entries) for entries in groups])


def _evaluations(record: StudyRecord) -> ContainerContentItem:
    """The texts of the report, what the reader set, and the notices."""
    uid = record.prior.study_uid if record.prior else ""
    texts = [
        *((codes.DCM.Comment, notice) for notice in notices(record)[:2]),  # what the report is
        (codes.DCM.IndicationsForProcedure, record.indication),
        (codes.DCM.Comment, comparison(record) if record.prior else ""),
        (codes.DCM.Comment, f"StudyInstanceUID of the prior study: {uid}" if uid else ""),
        (codes.DCM.Finding, record.written_findings),
        (codes.DCM.Impression, record.impression),
        *((codes.DCM.Comment, notice) for notice in notices(record)[2:]),
    ]
    items: list[ContentItem] = [
        TextContentItem(name=name, value=text, relationship_type=CONTAINS) for name, text in texts if text
    ]
    for finding, state in record.reader_states.items():
        item = CodeContentItem(name=finding_code(finding), value=_own_value(state), relationship_type=CONTAINS)
        mark = TextContentItem(
            name=codes.DCM.Comment, value="Set by the reader", relationship_type=RelationshipTypeValues.HAS_PROPERTIES
        )
        item.ContentSequence = ContentSequence([mark])
        items.append(item)
    return _container(QUALITATIVE_EVALUATIONS, items)


def _container(name: CodedConcept, items: list[ContentItem]) -> ContainerContentItem:
    container = ContainerContentItem(name=name, is_content_continuous=False, relationship_type=CONTAINS)
    container.ContentSequence = ContentSequence(items)
    return container
