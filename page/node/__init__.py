"""The DICOM node: receives studies from an archive, reads them, and sends the reports back."""
