"""Conversations: the flow table, TCP sequence analysis, messages put together from segments."""
