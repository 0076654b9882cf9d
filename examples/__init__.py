"""Worked examples: a network, a field and rules of one's own."""
