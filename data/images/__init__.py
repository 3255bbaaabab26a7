"""From an image file (PNG, JPEG, WebP, TIFF, DICOM) to 8-bit gray and back to a stored file."""
