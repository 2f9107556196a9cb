"""How far two images are apart: the metrics, each a plugin."""
