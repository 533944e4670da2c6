"""OpenAI-compatible servers: requests, replies, their cost, and a cache of what was paid for."""
