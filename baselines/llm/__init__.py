"""Ranking with language models: the models, the prompts, what is read out of answers."""
