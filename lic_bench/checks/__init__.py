"""What every codec must do; our figures beside published ones."""
