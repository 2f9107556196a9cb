"""What Python calls: the commands as functions, with their names, for scripts and notebooks."""
