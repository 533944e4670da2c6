"""The embedded world: prompts, simulated generators, pictures, latent quality, annotators, and a rule-based teacher."""
