"""HTTP/1.x: heads, bodies, and how much more a message needs."""
