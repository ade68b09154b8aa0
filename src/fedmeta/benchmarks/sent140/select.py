"""The users of the paper's study."""

from fedmeta.data.statistics import Reference

# Table 1 of Chen et al. 2018: value and accepted relative deviation. Whether LEAF's
# sampling came before is not known, so counts are held to a few per cent.
TABLE1 = {
    "clients": Reference(3790, 0.03),
    "samples": Reference(171_809, 0.03),
    "classes": Reference(2),
    "samples_mean": Reference(45, 0.03),
    "samples_sd": Reference(28, 0.03),
    "classes_min": Reference(1),
    "classes_max": Reference(2),
}
