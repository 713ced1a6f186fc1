"""Conversations as files, in and out."""
