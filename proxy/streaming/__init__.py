"""One reply: asked for, drafted, checkpointed, stored, followed, stopped."""
