"""Methods that know items by their texts: words in common, or nearness of embeddings."""
