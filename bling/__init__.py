"""Everything that knows Bling's addresses, JSON and manners. Start at client.py; errors.py says what can go wrong."""
