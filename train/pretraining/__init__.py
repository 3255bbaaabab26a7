"""Pretraining: masked autoencoder on images, language model on texts."""
