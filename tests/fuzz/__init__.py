"""Fuzzing of the dissector: mutated packets, every array access checked, compiled and interpreted kernels compared."""
