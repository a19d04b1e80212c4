"""The decisions of the program: pure functions and values. No clock, no randomness, no input or output."""
