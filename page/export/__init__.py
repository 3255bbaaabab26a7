"""Downloads: text, JSON, PDF, FHIR, DICOM SR."""
