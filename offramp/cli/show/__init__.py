"""What commands show: progress, tables, ledgers, and where their data go."""
