"""The model card of a checkpoint or of pretrained weights."""
