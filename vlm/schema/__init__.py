"""Findings, views, report format, preprocessing, and file formats; no torch. `data` imports no other part of vlm."""
