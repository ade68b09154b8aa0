"""Trainings of the studies: their data, their options, the nodes that they share."""
