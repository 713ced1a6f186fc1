"""The Beanie documents, one module a collection or two that belong together."""
