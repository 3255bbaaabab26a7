"""Tests of the DICOM node."""
