"""What is remembered of remote content."""
