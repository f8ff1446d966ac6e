"""Methods that know nothing of an item but who consumed it and when."""
