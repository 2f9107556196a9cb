"""What a metric is, and which there are."""
