"""What a codec is, which there are, and what decides on its bytes."""
