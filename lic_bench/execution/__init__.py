"""A plan less what the store holds is the work; one runner executes it."""
