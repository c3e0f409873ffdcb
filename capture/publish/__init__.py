"""Messages on their way to Kafka: the publisher, its spool on disk, and the account of both."""
