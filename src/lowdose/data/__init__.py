"""Truths to train on: read or simulated, augmented, and paired with drawn exposures."""
