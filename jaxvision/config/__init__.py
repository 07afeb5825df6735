"""What configs may hold: every field, its check, and configs of older runs."""
