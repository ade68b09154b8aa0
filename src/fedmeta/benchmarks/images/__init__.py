"""Images of one's own, in a folder a client and class; nothing is published."""
