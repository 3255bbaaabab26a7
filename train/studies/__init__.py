"""Which studies are trained on, and how they become batches."""
