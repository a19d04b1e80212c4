"""What workers do. A job takes ids, may run twice, and may be killed at any instant; nothing imports this package."""
