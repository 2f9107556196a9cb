"""The codecs that come with lic-bench: one plugin each."""
