"""What was measured is remembered: records, the database, the tidy table."""
