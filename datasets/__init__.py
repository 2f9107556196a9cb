"""The data sets that lic-bench knows: one manifest each."""
