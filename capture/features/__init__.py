"""Feature rows as users see them: files of rows, cells as text, rows as Arrow."""
