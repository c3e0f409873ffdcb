"""An agent: what publishes files and live links to Kafka."""
