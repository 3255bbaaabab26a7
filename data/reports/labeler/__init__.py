"""Finding labels from report text by rules."""
