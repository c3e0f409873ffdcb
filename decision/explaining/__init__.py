"""What a command says, told in sentences: found by its id, with what became of it and which packets it is about."""
