"""From a source to the dissector: queues, shedding, flow sampling, and the raw recorder."""
