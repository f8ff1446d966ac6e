"""Ranking with language models.

What is asked of a model is in `model`, the models are in `models`, and what is shown to them is in
`prompts`. `asking` asks and records, `parsing` reads what is answered, `ranker` is what the
rankers share; each other module is a ranker, but for `serve`, which starts a small model to try
them with.
"""
