"""Learning: fine-tuning a report model on a prepared dataset."""
