"""FEMNIST's natural writers, prepared for the studies of related papers."""

from fedmeta.pipelines.studies.experiment import clients_of

WRITERS = clients_of("femnist", "femnist_writers")
UNSEEN = "Those who are judged, and those whom curves show, took no part in training."
NOTE = "Natural writers: pixels are inverted, so that 1 is ink."
