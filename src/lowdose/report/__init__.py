"""Results for people: what a file holds, pictures side by side. Decides nothing."""
