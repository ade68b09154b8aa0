"""A table of one's own: a client, a label and features a row; nothing is published."""
