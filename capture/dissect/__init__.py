"""Dissection: how packets become feature rows. `row_loop` is the way in, `batches` the way out."""
