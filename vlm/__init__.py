"""The model: chest X-ray views in, probabilities of 14 findings and a generated report out.

`vlm` handles tensors, images in memory and text; it does not read study files or data sets.
"""
