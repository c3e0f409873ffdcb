"""The Edge-IIoTset data set's own files: how a row is written, read and repaired."""
