"""Without Kafka: replay of files, tap of interfaces, in one process."""
