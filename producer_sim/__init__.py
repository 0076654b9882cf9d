"""Publishes transactions and their labels to Kafka: made-up drift, or a file of real rows."""
