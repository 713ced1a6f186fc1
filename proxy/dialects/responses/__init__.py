"""OpenAI's Responses and Conversations: the same messages as items, and replies as events."""
