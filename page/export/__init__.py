"""Exports: text, JSON, PDF, FHIR, DICOM SR."""
