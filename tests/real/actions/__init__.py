"""What GitHub's runners would fetch, as far as the lab can stand for it."""
