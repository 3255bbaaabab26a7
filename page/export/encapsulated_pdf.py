"""A study's report as a DICOM object that holds the PDF (Encapsulated PDF Storage)."""

from highdicom.sr import CodedConcept
from pydicom import Dataset, uid
from pydicom.dataset import FileMetaDataset
from pydicom.sr.codedict import codes

from page.export.dicom_document import (
    DocumentPlace,
    add_times,
    character_set,
    equipment,
    evidence,
    place_by_content,
    saved,
    source_images,
)
from page.export.pdf import export_pdf
from page.export.text import export_json
from page.study.record import StudyRecord, without_identity


def export_encapsulated_pdf(
    record: StudyRecord, *, include_identity: bool = False, place: DocumentPlace | None = None
) -> bytes:
    """A DICOM file with the PDF of `export_pdf`; `place` as for `page.export.sr.export_sr`.

    Raises:
        ValueError: no image is DICOM with its UIDs, or they belong to several studies or patients.
    """
    source_images(record)  # Before the patient IDs are removed: this rejects images of several patients.
    pdf = export_pdf(record, include_identity=include_identity)
    record = record if include_identity else without_identity(record)
    images = source_images(record)
    place = place or place_by_content(record, include_identity=include_identity)
    document = evidence(images[0])
    document.file_meta = FileMetaDataset()
    document.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    document.SpecificCharacterSet = character_set(export_json(record, include_identity=include_identity))
    document.SOPClassUID, document.SOPInstanceUID = uid.EncapsulatedPDFStorage, place.sop_instance_uid
    document.SeriesInstanceUID, document.SeriesNumber = place.series_instance_uid, place.series_number
    document.InstanceNumber, document.Modality = place.instance_number, "DOC"
    document.SeriesDescription = document.DocumentTitle = record.title
    made_by = equipment(record)
    document.Manufacturer, document.ManufacturerModelName = made_by["manufacturer"], made_by["manufacturer_model_name"]
    document.SoftwareVersions = made_by["software_versions"]
    document.DeviceSerialNumber = made_by["device_serial_number"]
    document.ConversionType, document.BurnedInAnnotation = "WSD", "YES"
    document.AcquisitionDateTime = ""
    document.VerificationFlag = "VERIFIED" if record.is_signed else "UNVERIFIED"
    document.ConceptNameCodeSequence = [CodedConcept.from_code(codes.cid7000.DiagnosticImagingReport)]
    document.SourceInstanceSequence = []
    for image in images:
        source = Dataset()
        source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = image.sop_class_uid, image.sop_instance_uid
        document.SourceInstanceSequence.append(source)
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    document.EncapsulatedDocumentLength = len(pdf)
    if place.predecessor:
        before = Dataset()
        before.ReferencedSOPClassUID = place.predecessor.SOPClassUID
        before.ReferencedSOPInstanceUID = place.predecessor.SOPInstanceUID
        series = Dataset()
        series.SeriesInstanceUID, series.ReferencedSOPSequence = place.predecessor.SeriesInstanceUID, [before]
        study = Dataset()
        study.StudyInstanceUID, study.ReferencedSeriesSequence = place.predecessor.StudyInstanceUID, [series]
        document.PredecessorDocumentsSequence = [study]
    add_times(document, record)
    return saved(document)
