"""Selection of the training studies, and batches of them."""
