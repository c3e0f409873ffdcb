"""Packets of capture files: formats, compression, records."""
