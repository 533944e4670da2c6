"""The Hugging Face Hub: the client, and the names of a release's repositories."""
