"""Methods that go by the order in which a user consumed items."""
