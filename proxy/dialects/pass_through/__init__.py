"""OpenAI's other endpoints, passed on to the provider of the model as bytes."""
