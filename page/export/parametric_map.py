"""The heatmaps of a study's findings as DICOM Parametric Maps: one for each image, with one frame for each finding.

A value is heat, from 0 to 1: where the model looked, not a probability, and not why. A map covers the image as the
model read it (scaled down to MAP_SIDE, turned upright if the header says so, without cropped borders). A radiograph has
no position in the patient, so the map has a frame of reference of its own, where a pixel is one unit wide: a viewer
shows it beside the image and not over it, and its distances are no millimeters.
"""

from dataclasses import replace

import numpy as np
from highdicom import VOILUTTransformation
from highdicom.pm import ParametricMap, RealWorldValueMapping
from highdicom.sr import CodedConcept
from pydicom import Dataset
from pydicom.sr.codedict import codes

from data.images.pixels import fitted_size
from page.export.dicom_document import (
    DocumentPlace,
    add_times,
    character_set,
    document_uid,
    equipment,
    evidence,
    saved,
    source_images,
)
from page.export.fhir import OWN_SCHEME, own_code
from page.export.text import export_json
from page.study.record import StudyRecord
from page.study.upload import UploadedImage
from vlm.explain.attention import heatmaps
from vlm.schema.findings import FINDING_INDEX

MAP_SIDE = 256
"""Longest side of a map in pixels; the model looks at far fewer patches."""
HEAT = CodedConcept(value="HEAT", scheme_designator=OWN_SCHEME, meaning="Attention of the model, relative to its peak")


def export_parametric_maps(record: StudyRecord, *, place: DocumentPlace) -> list[bytes]:
    """The DICOM files. The patient of the images is named in them. Their UIDs follow from that of `place`.

    Raises:
        ValueError: no image is DICOM with its UIDs, they belong to several studies or patients, or the model was
            trained on no finding.
    """
    source_images(record)
    if not record.finding_rows:
        raise ValueError("the model was trained on no finding, so it has no heatmaps")
    sizes = [fitted_size(view.image.size, MAP_SIDE) for view in record.views]
    heat_of_views = heatmaps(record.attention_maps, sizes, record.square)
    files = []
    for view, heat in zip(record.views, heat_of_views, strict=True):
        if view.identifiers and view.identifiers.refers_to_an_image:
            uid = map_uid(place.sop_instance_uid, view.identifiers.sop_instance_uid)
            number = place.instance_number * 100 + len(files)
            files.append(_map(record, view, heat, replace(place, sop_instance_uid=uid, instance_number=number)))
    return files


def map_uid(place_uid: str, image_uid: str) -> str:
    """The UID of the map of an image, from that of the `DocumentPlace`."""
    return document_uid(f"{place_uid} {image_uid}")


def _map(record: StudyRecord, view: UploadedImage, heat: np.ndarray, place: DocumentPlace) -> bytes:
    """The file of one image; `heat` is [14 findings, height, width]."""
    shown = heat[[FINDING_INDEX[row.finding] for row in record.finding_rows]]
    document = ParametricMap(
        source_images=[_source(view, *heat.shape[1:])],
        pixel_array=np.moveaxis(shown, 0, -1)[None].astype(np.float32),
        series_instance_uid=place.series_instance_uid,
        series_number=place.series_number,
        sop_instance_uid=place.sop_instance_uid,
        instance_number=place.instance_number,
        **equipment(record),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[[_mapping(row.finding)] for row in record.finding_rows],
        voi_lut_transformations=[VOILUTTransformation(window_center=0.5, window_width=1.0)],
        content_description="Where the model looked",
        content_label="HEATMAPS",
        specific_character_set=character_set(export_json(record, include_identity=True)),
        series_description="Machine-written draft: heatmaps",
    )
    add_times(document, record)
    return saved(document)


def _source(view: UploadedImage, height: int, width: int) -> Dataset:
    """What highdicom reads of the source image, with the size of the map and the map's own frame of reference."""
    header = evidence(view.identifiers)
    header.Rows, header.Columns = height, width
    header.FrameOfReferenceUID = document_uid(f"frame of reference {view.identifiers.sop_instance_uid}")
    header.PositionReferenceIndicator = ""
    header.ImagePositionPatient, header.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    header.PixelSpacing, header.SliceThickness = [1, 1], 1
    return header


def _mapping(finding: str) -> RealWorldValueMapping:
    return RealWorldValueMapping(
        lut_label=own_code(finding),
        lut_explanation=f"Heat of {finding}",
        unit=codes.UCUM.NoUnits,
        value_range=(0.0, 1.0),
        slope=1,
        intercept=0,
        quantity_definition=HEAT,
    )
