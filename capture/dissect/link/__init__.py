"""Link layer: link types, labels, serial lines, wireless."""
