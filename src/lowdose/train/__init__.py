"""Training: settings, losses, schedule and a loop that survives being killed."""
