"""Training: fine-tuning of report models and pretraining of their halves."""
