"""Images: read and written, found in data sets, fetched."""
