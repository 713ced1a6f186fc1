"""FastAPI plumbing: middleware, handlers, dependencies, the OpenAPI document."""
