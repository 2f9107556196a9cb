"""Results from elsewhere: read, checked, measured, kept beside ours."""
