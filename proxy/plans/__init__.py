"""Plan documents: written by a model, compared, filled into templates."""
