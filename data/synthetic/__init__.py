"""Synthetic studies: scenes sampled at random, their images and their reports."""
