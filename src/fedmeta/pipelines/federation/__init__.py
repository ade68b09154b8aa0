"""Data of a federation: what nodes say of the clients that they hold."""
