"""Read DICOM: parse the header safely, decode the pixels, convert them to gray, turn them to the standard view."""
