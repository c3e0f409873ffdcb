"""Where packets come from: files, interfaces."""
