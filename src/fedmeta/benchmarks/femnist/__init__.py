"""FEMNIST: handwritten characters of 62 classes, a client a writer."""
