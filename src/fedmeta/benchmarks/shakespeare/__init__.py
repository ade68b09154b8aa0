"""Shakespeare: next-character prediction, a client a role of a play."""
