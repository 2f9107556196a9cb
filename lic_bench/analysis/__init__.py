"""From measurements to rate-distortion curves, BD-rates and comparisons."""
