"""DICOM files like those of a scanner: of given pixels and attributes, and one with fixed gray values."""

import io

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

NAME = "Doe^Jane"


def header_of(pixels: np.ndarray, syntax: str = ExplicitVRLittleEndian, **attributes) -> Dataset:
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntax
    header.SOPClassUID, header.SOPInstanceUID = DigitalXRayImageStorageForPresentation, generate_uid()
    header.PatientName, header.PatientID, header.InstitutionName = NAME, "MRN-4711", "Mercy Hospital"
    header.Modality, header.SamplesPerPixel, header.PhotometricInterpretation = "DX", 1, "MONOCHROME2"
    header.Rows, header.Columns = pixels.shape
    header.BitsAllocated = header.BitsStored = pixels.itemsize * 8
    header.HighBit, header.PixelRepresentation = header.BitsStored - 1, int(pixels.dtype.kind == "i")
    header.PixelData = pixels.tobytes()
    for attribute, value in attributes.items():
        setattr(header, attribute, value)
    return header


def content_of(pixels: np.ndarray, syntax: str = ExplicitVRLittleEndian, **attributes) -> bytes:
    return saved(header_of(pixels, syntax, **attributes))


def saved(header: Dataset) -> bytes:
    file = io.BytesIO()
    header["PixelData"].VR = "OW" if header.BitsAllocated > 8 else "OB"
    header.save_as(file, enforce_file_format=True)
    return file.getvalue()


GRAY = (np.arange(48 * 40).reshape(48, 40) % 200).astype(np.uint8)


@pytest.fixture
def dicom(tmp_path):
    """`dicom(ViewPosition="AP", …)`: the path of a DICOM file of GRAY."""

    def write(**attributes):
        header = Dataset()
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.SOPClassUID, header.SOPInstanceUID = DigitalXRayImageStorageForPresentation, "1.2.3"
        header.PatientName, header.Modality, header.BodyPartExamined = "Doe^Jane", "DX", "CHEST"
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.Rows, header.Columns = GRAY.shape
        header.BitsAllocated = header.BitsStored = 8
        header.HighBit, header.PixelRepresentation, header.PixelData = 7, 0, GRAY.tobytes()
        header["PixelData"].VR = "OB"
        for attribute, value in attributes.items():
            setattr(header, attribute, value)
        content = io.BytesIO()
        header.save_as(content, enforce_file_format=True)
        (tmp_path / "scan").write_bytes(content.getvalue())
        return tmp_path / "scan"

    return write
