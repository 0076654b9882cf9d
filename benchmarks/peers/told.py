"""How a peer's figures are told from what else it prints."""

TOLD = b"figures "
