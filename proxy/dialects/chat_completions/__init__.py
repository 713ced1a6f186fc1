"""OpenAI's chat completions: stateless, and with a conversation's memory."""
