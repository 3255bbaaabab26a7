"""The model: chest X-ray views in, probabilities of 14 findings and a written report out.

`vlm` knows tensors, images in memory and text; it knows no files of studies and no datasets.
"""
