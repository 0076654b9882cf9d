"""The same work by other Python stream processors: decode, score, one message a transaction."""
