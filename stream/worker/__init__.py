"""A worker: Kafka's partitions through the pipeline, checkpoints, outbox, watchdog."""
