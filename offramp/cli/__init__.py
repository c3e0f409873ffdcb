"""The command line: what is shown, asked for and printed; the stages are called from here."""
