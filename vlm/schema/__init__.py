"""What findings, views, reports and preprocessing are; no torch. The only part of vlm that data sees."""
