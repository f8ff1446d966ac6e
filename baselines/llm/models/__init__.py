"""Models that do what `baselines.llm.model` asks of one. `connect` makes those of cards.

    endpoint    behind an OpenAI-compatible server. What it can do is in `capabilities`, and what
                it has in `served_names`; how likely it finds a text is read by `first_token` or
                `given_texts`
    local       run here by Transformers; `reading` reads what prompts share once
    langchain   any that LangChain has
    packaged    the file of a small one, for `local` and for a server

Those elsewhere are asked by `at_once`, and answer in OpenAI's `chat_format`.
"""
