"""Classification by the decoder or by a probe on features."""
