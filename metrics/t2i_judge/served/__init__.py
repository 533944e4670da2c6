"""OpenAI-compatible servers: requests, replies, what they cost, and a cache of what was paid for."""
