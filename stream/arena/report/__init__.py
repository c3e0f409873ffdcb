"""What a contest tells people: the columns of its tables, and a page with pictures that needs no other file."""
