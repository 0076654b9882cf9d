"""One runnable file a question."""
