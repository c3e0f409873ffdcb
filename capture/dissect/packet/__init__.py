"""What every layer uses: the cursor over a packet's bytes, and the table of what was found."""
