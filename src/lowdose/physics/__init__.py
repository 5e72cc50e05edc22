"""Noise of electron detectors as formulas; opens no file, knows no network."""
