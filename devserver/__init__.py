"""What a developer's machine needs around the program: a private Redis, and one command that runs everything."""
