"""What codecs and metrics share as plugins: found, named with options, identified, kept apart."""
