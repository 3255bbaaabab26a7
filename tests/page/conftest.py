"""Fixtures of the web page's tests."""

from tests.helpers.dicom_files import dicom  # noqa: F401
