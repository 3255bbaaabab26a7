"""Images and text to the tensors of a batch."""
