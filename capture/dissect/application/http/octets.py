"""Bytes that have a meaning in HTTP (RFC 9110, RFC 9112), as numbers."""

TAB = 9
LF = 10
CR = 13
SPACE = 32
COMMA = 44
COLON = 58
QUESTION = 63
