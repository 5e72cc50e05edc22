"""How far to trust a denoised micrograph: statistics of one image that need no truth."""
