"""Fixtures of the web page's tests."""

from tests.helpers.dicom_files import dicom  # noqa: F401
from tests.helpers.web_browser import address_of, browser, corrections, open_page, tall_image  # noqa: F401
