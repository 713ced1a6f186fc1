"""Poe and OpenAI models behind one OpenAI-style HTTP API with a memory."""

__version__ = "0.1.0"
