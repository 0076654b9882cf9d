"""The only package that touches Kafka."""
