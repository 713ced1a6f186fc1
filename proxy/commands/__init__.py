"""The `proxy` command: one module a command."""
