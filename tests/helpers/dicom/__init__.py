"""DICOM files, a PACS in the process, and Orthanc, for tests."""
