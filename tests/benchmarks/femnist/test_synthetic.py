import json

import numpy as np
import pytest

from fedmeta.benchmarks.femnist.glyphs import (
    CONVENTIONS,
    FORMS,
    HABITS,
    segments,
)
from fedmeta.benchmarks.femnist.shards import CHARACTERS
from fedmeta.benchmarks.femnist.synthetic import _ink, write_sample, writer_records
from fedmeta.options import build


class TestGlyphs:
    def test_every_class_has_a_form_for_each_value_of_its_habit(self):
        assert set(CONVENTIONS) == set(CHARACTERS)
        assert {habit for habit, *_ in CONVENTIONS.values()} == set(HABITS)

    def test_no_form_is_left_unused(self):
        used = {
            form.removeprefix("small ").removeprefix("tailed ")
            for _, *forms in CONVENTIONS.values()
            for form in forms
        }
        assert used == set(FORMS)

    def test_forms_are_centred_and_of_a_character_s_size(self):
        for _, *forms in CONVENTIONS.values():
            for form in forms:
                points = segments(form).reshape(-1, 2)
                low, high = points.min(axis=0), points.max(axis=0)
                assert low + high == pytest.approx(0, abs=1e-12)
                assert 4 <= (high - low).max() <= 15, form  # noqa: PLR2004

    def test_some_forms_mean_different_classes_for_different_writers(self):
        first = {form: c for c, (_, form, _) in CONVENTIONS.items()}
        second = {form: c for c, (_, _, form) in CONVENTIONS.items()}
        differing = [f for f in first.keys() & second if first[f] != second[f]]
        assert {"ring", "stick", "ess", "hook"} <= set(differing)


class TestInk:
    def test_a_vertical_line_by_hand(self):
        # from (14, 4) to (14, 20), half width 1: ink where the distance is up to 1/2
        # over it, half of it at a distance of exactly 1
        line = np.array([[[[14, 4], [14, 20]]]], dtype=np.float32)
        image = _ink(line, np.array([1], dtype=np.float32))[0]
        assert image[10, 12:17].tolist() == [255, 128, 0, 128, 255]
        assert image[2:6, 14].tolist() == [255, 128, 0, 0]
        assert image[20:23, 14].tolist() == [0, 128, 255]

    def test_a_segment_without_length_is_a_dot(self):
        dot = np.full((1, 1, 2, 2), 9, dtype=np.float32)
        image = _ink(dot, np.array([1], dtype=np.float32))[0]
        assert image[9, 7:12].tolist() == [255, 128, 0, 128, 255]


class TestWriterRecords:
    def test_is_a_function_of_seed_and_writer(self):
        pixels, labels = writer_records(3, 5)
        again, same = writer_records(3, 5)
        assert np.array_equal(pixels, again)
        assert np.array_equal(labels, same)
        for other in (writer_records(3, 6)[0], writer_records(4, 5)[0]):
            assert other.shape != pixels.shape or (other != pixels).any()

    def test_shapes_types_and_ranges(self):
        pixels, labels = writer_records(0, 0, (50, 50))
        assert pixels.shape == (50, 784)
        assert pixels.dtype == labels.dtype == np.uint8
        assert labels.max() < len(CHARACTERS)
        assert pixels.min() == 0
        # every image has ink, on a mostly white background
        assert (pixels.min(axis=1) < 128).all()  # noqa: PLR2004
        assert (np.median(pixels, axis=1) == 255).all()  # noqa: PLR2004

    def test_counts_stay_within_the_range(self):
        counts = {len(writer_records(0, i, (1, 3))[1]) for i in range(40)}
        assert counts == {1, 2, 3}

    def test_all_classes_occur_and_digits_more_often(self):
        counts = np.bincount(writer_records(0, 0, (6000, 6000))[1], minlength=62)
        assert (counts > 0).all()
        assert 1.5 < counts[:10].mean() / counts[10:].mean() < 2.5  # noqa: PLR2004


class TestWriteSample:
    def test_writes_leaf_shards_that_say_they_are_synthetic(self, tmp_path):
        paths = write_sample(tmp_path, writers=101, records_per_writer=(2, 3), seed=7)
        assert paths == sorted(tmp_path.iterdir())  # and nothing half-written
        shards = [json.loads(path.read_text()) for path in paths]
        assert [len(shard["users"]) for shard in shards] == [100, 1]
        assert shards[1]["users"] == ["synthetic_0100"]
        for shard in shards:
            assert list(shard)[-1] == "user_data"  # LEAF's order: the head comes first
            assert "seed 7" in shard["synthetic"]
            assert list(shard["user_data"]) == shard["users"]
            for user, n in zip(shard["users"], shard["num_samples"], strict=True):
                data = shard["user_data"][user]
                pixels, labels = writer_records(7, int(user[-4:]), (2, 3))
                assert data["y"] == labels.tolist()
                assert len(data["x"]) == n
                assert np.array_equal(data["x"], pixels / 255)

    def test_same_arguments_same_bytes(self, tmp_path):
        first, second = (
            write_sample(tmp_path / name, writers=2, records_per_writer=(2, 4))
            for name in "ab"
        )
        assert first[0].read_bytes() == second[0].read_bytes()

    def test_a_stop_in_the_middle_leaves_nothing(self, tmp_path, monkeypatch):
        def stop(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr("fedmeta.benchmarks.femnist.synthetic.writer_records", stop)
        with pytest.raises(KeyboardInterrupt):
            write_sample(tmp_path, writers=1)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("writers", "records", "message"),
        [
            (0, (1, 2), "writers.: expected 1 or more"),
            (1, (0, 2), "records_per_writer"),
            (1, (3, 2), "records_per_writer from 3 to 2: expected the least"),
        ],
    )
    def test_refuses_an_empty_sample(self, tmp_path, writers, records, message):
        options = {"writers": writers, "records_per_writer": list(records)}
        with pytest.raises(ValueError, match=message):
            build(write_sample, options, "raw.sample", tmp_path)
