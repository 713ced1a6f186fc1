"""The sources of models: one module a wire protocol, one registry."""
