"""Methods that make run files. They import only public names of llm4rec_bench."""
