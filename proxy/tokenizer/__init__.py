"""Tokens of a text, counted by a process of their own."""
