"""The policy `hedge`: experts, weighed by evidence, over the regimes that a stream goes through."""
