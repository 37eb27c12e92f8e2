"""Target codes, and samples that depend on their number alone."""

import shutil
import sys
from dataclasses import replace
from itertools import islice

import cv2
import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch", reason="training needs torch: make test-train")

from drive_seg.core.classes import ClassTable, Group  # noqa: E402
from drive_seg.evaluation.dataset import Dataset, DatasetError  # noqa: E402
from drive_seg.evaluation.scores import Scores  # noqa: E402
from drive_seg.training import augment, data, synthetic_obstacles  # noqa: E402
from drive_seg.training.losses import IGNORE  # noqa: E402
from drive_seg.training.recipe import Phase, Recipe  # noqa: E402

pytestmark = pytest.mark.train
RECIPE = Recipe(batch=4, phases=(Phase(0.5, (64, 96), (0.8, 1.5)), Phase(1.0, (96, 128), (0.9, 1.2))))


@pytest.fixture
def loaded(world):
    datasets = [Dataset.load(root) for root in world]
    table = data.class_table(datasets[0])
    return datasets, table, *data.load_sources(datasets, "train", table)


def test_codes_say_which_classes_a_pixel_may_be(loaded):
    datasets, table, sources, allowed = loaded
    assert data.allowed_classes(datasets[1], table) == {0: (0, 3), 7: (1,), 8: (2,)}
    assert allowed.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 1]]
    assert set(np.unique(sources[0].codes[0])) == {0, 1, 2, 3}
    assert set(np.unique(sources[1].codes[0])) <= {1, 2, 4, IGNORE}


def test_the_first_data_set_names_the_classes(loaded):
    datasets, table, *_ = loaded
    assert table.names == ("sky", "road", "pavement", "pedestrian")
    assert [c.drivable for c in table.classes] == [c.group is Group.ROAD for c in table.classes]
    with pytest.raises(DatasetError, match="fully labelled data set first"):
        data.class_table(datasets[1])


def test_an_ignored_class_is_none_of_the_network(world, tmp_path):
    """A data set may name what it ignores, in the middle of its ids."""
    facts = yaml.safe_load((world[0] / "dataset.yaml").read_text())
    facts["classes"][255] = {"name": "void", "group": "background"}
    (tmp_path / "train").symlink_to(world[0] / "train")
    for ignored, names, codes in ((255, ("sky", "road", "pavement", "pedestrian"), {0, 1, 2, 3}),
                                  (2, ("sky", "road", "pedestrian", "void"), {0, 1, 2, IGNORE})):
        (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(facts | {"ignore": ignored}))
        dataset = Dataset.load(tmp_path)
        table = data.class_table(dataset)
        assert table.names == names
        assert ignored not in data.allowed_classes(dataset, table)
        assert Scores(dataset, table).on_classes, "validation's scores are of the classes, though their ids differ"
        sources, allowed = data.load_sources([dataset], "train", table)
        assert allowed.shape == (4, 4)
        assert set(np.unique(sources[0].codes[0])) == codes


def test_an_id_that_nothing_is_said_about(world, tmp_path):
    facts = yaml.safe_load((world[0] / "dataset.yaml").read_text())
    del facts["classes"][3]
    (tmp_path / "train").symlink_to(world[0] / "train")
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(facts))
    dataset = Dataset.load(tmp_path)
    with pytest.raises(DatasetError, match=r"train/labels/0.png has the id 3 .*which dataset.yaml does not name"):
        data.load_sources([dataset], "train", data.class_table(dataset))


def test_a_sample_depends_on_its_number_alone(loaded):
    _, table, sources, allowed = loaded
    request = data.Request(3, 0, (64, 96), (0.8, 1.5))
    first, second = (data.Samples(sources, table, RECIPE, allowed) for _ in range(2))
    _ = first[data.Request(0, 0, (64, 96), (0.8, 1.5))]
    for ours, theirs in zip(first[request], second[request], strict=True):
        assert torch.equal(ours, theirs)
    image, codes = first[request]
    assert image.shape == (3, 64, 96)
    assert image.dtype == torch.uint8
    assert codes.shape == (32, 48)


def test_an_epoch_shows_every_picture(loaded):
    _, table, sources, allowed = loaded
    samples = data.Samples(sources, table, Recipe(rare_image_share=0), allowed)
    rng = np.random.default_rng(0)
    picked = [samples._pick(rng, data.Request(i, 1, (1, 1), (1, 1))) for i in range(12)]
    assert sorted(picked[:6]) == sorted(picked[6:]) == list(range(6))


def test_a_schedule_goes_on_where_it_stopped():
    def batches(start, count):
        iterator = iter(data.Schedule((0.75, 0.25), RECIPE, start, lambda step: step / 10))
        return [next(iterator) for _ in range(count)]

    assert batches(0, 8)[3:] == batches(3, 5)
    assert sorted(r.source for r in batches(0, 1)[0]) == [0, 0, 0, 1]
    assert batches(0, 1)[0][0].size == (64, 96)
    assert batches(7, 1)[0][0].size == (96, 128)


def test_each_source_gets_its_share_and_shows_all_its_pictures():
    shares = (0.5, 0.35, 0.15)
    requests = [r for batch in islice(data.Schedule(shares, RECIPE, 0, lambda _: 0.0), 120) for r in batch]
    for source, share in enumerate(shares):
        numbers = [r.number for r in requests if r.source == source]
        assert len(numbers) == round(share * 480)
        assert numbers == list(range(len(numbers))), "no picture is left out, none comes twice"
    early = [r.source for r in requests[:20]]
    assert all(abs(early.count(source) - 20 * share) <= 1 for source, share in enumerate(shares)), "and none waits"


def test_replicas_share_out_the_samples():
    recipe = replace(RECIPE, replicas=2)
    one, other = ([r for batch in islice(data.Schedule((0.6, 0.4), recipe, 0, lambda _: 0.0, replica), 30)
                   for r in batch] for replica in range(2))
    seen = [(r.source, r.number) for r in one + other]
    assert len(set(seen)) == len(seen) == 240


@pytest.fixture
def finer(world, tmp_path):
    """The fully labelled set, the partly labelled one and one that tells kerb besides; and a table with kerb in it."""
    datasets = [Dataset.load(root) for root in world]
    kerb = {"id": 4, "name": "kerb", "group": "pavement", "colour": [9, 9, 9], "drivable": False, "within": "pavement"}
    table = ClassTable.from_dicts([*data.class_table(datasets[0]).to_dicts(), kerb])
    facts = yaml.safe_load((world[0] / "dataset.yaml").read_text())
    facts["name"], facts["classes"][4] = "fine", {"name": "kerb", "group": "pavement"}
    (tmp_path / "fine").mkdir()
    (tmp_path / "fine" / "train").symlink_to(world[0] / "train")
    (tmp_path / "fine" / "dataset.yaml").write_text(yaml.safe_dump(facts))
    return [*datasets, Dataset.load(tmp_path / "fine")], table


def test_a_class_may_be_told_as_the_one_it_is_within(finer):
    """`pavement` of the set without kerb may be kerb, for the third set teaches the difference; that one's may not."""
    datasets, table = finer
    assert data.allowed_classes(datasets[0], table, datasets) == {0: (0,), 1: (1,), 2: (2, 4), 3: (3,)}
    assert data.allowed_classes(datasets[2], table, datasets) == {0: (0,), 1: (1,), 2: (2,), 3: (3,), 4: (4,)}
    sources, allowed = data.load_sources(datasets, "train", table)
    book = data.code_book(sources, allowed, table, RECIPE)
    shapes = {tuple(np.flatnonzero(row)): bool(book.definite[code]) for code, row in enumerate(allowed)}
    assert shapes[2, 4] and not shapes[0, 3], "a family has a shape of its own, one of several groups has none"
    assert data.family(table).tolist() == [0, 1, 2, 3, 2]
    assert book.weights[4] > book.weights[2], "kerb, shown nowhere alone, counts as rare; pavement does not"
    samples = data.Samples(sources, table, replace(RECIPE, rare=("pavement",)), allowed)
    code = next(c for c, row in enumerate(allowed) if tuple(np.flatnonzero(row)) == (2, 4))
    assert samples._rare == [[2, code]]


def test_a_class_that_no_set_tells_apart_does_not_swallow_the_other(finer):
    datasets, table = finer
    assert data.allowed_classes(datasets[0], table, datasets[:2])[2] == (2,)


def test_ego_sets_teach_the_ego_vehicle(world, tmp_path):
    """In the sets that the recipe names, and in no other."""
    datasets = [Dataset.load(root) for root in world]
    rows = data.class_table(datasets[0]).to_dicts()
    table = ClassTable.from_dicts([*rows, {"id": 4, "name": "ego_vehicle", "group": "background", "colour": [9, 9, 9],
                                           "drivable": False, "ego": True}])
    labels = cv2.imread(str(world[0] / "train" / "labels" / "0.png"), cv2.IMREAD_UNCHANGED)
    labels[80:, 10:110] = 255
    root = tmp_path / "bonnet"
    shutil.copytree(world[0], root)
    cv2.imwrite(str(root / "train" / "labels" / "0.png"), labels)
    dataset = Dataset.load(root)
    for ego_sets, code in (((dataset.name,), 4), ((), IGNORE)):
        (source,), allowed = data.load_sources([dataset], "train", table, ego_sets)
        assert (source.codes[0][82:, 12:108] == code).all()
    assert not any(row[4] for code, row in enumerate(allowed) if code != 4), "no group may be the ego vehicle"
    with pytest.raises(DatasetError, match="ego_sets of the recipe names elsewhere, the data sets are "):
        data.load_sources([dataset], "train", table, ("elsewhere",))


def test_a_bonnet_hides_the_lower_edge():
    rng = np.random.default_rng(0)
    for _ in range(20):
        image, codes = rng.integers(0, 255, (96, 128, 3), np.uint8), np.zeros((96, 128), np.uint8)
        before = image.copy()
        synthetic_obstacles.add_bonnet(rng, image, codes, 7)
        assert set(np.unique(codes)) == {0, 7}
        covered = (codes == 7).mean(1)
        assert (np.diff(covered) >= 0).all(), "it widens towards the lower edge"
        assert covered[-1] > 0.4 and not covered[:60].any()
        assert np.array_equal(image[:55], before[:55])


def test_a_whole_picture_fills_a_crop():
    rng = np.random.default_rng(0)
    fills = np.array([augment.filling(rng, (256, 512), (352, 480)) for _ in range(200)])
    stretched = np.isclose(fills, (480 / 512, 352 / 256)).all(1)
    assert 0.3 < stretched.mean() < 0.7
    assert np.allclose(fills.prod(1), 480 / 512 * 352 / 256), "of the same area, whatever its aspect"
    assert (fills[:, 0] >= 480 / 512 - 1e-9).all() and (fills[:, 1] <= 352 / 256 + 1e-9).all()


def test_labels_follow_their_picture():
    # A picture whose colour is its label stays so under any view.
    labels = np.kron(np.arange(12, dtype=np.uint8).reshape(3, 4), np.ones((40, 40), np.uint8))
    image = np.repeat(labels[..., None] * 20, 3, 2)
    rng = np.random.default_rng(0)
    for _ in range(20):
        view = augment.random_view(rng, (96, 128), labels.shape, (0.9, 1.8), None)
        crop, small = augment.apply_view(image, labels, view, (96, 128), IGNORE)
        centre = crop.reshape(48, 2, 64, 2, 3).mean((1, 3))[..., 0]  # the mean of the label pixel's 2x2
        known = small != IGNORE
        wrong = np.abs(centre[known] - small[known] * 20.0) > 10
        assert known.mean() > 0.3
        assert wrong.mean() < 0.06  # only where two labels meet


def test_a_pasted_cut_out_stands_on_ground(loaded):
    _, table, sources, allowed = loaded
    cuts = data.cut_outs(sources[0], [3])
    assert cuts
    rng = np.random.default_rng(0)
    image, codes = np.zeros((96, 128, 3), np.uint8), np.ones((96, 128), np.uint8)
    data.paste(rng, image, codes, cuts[0], ground=[1])
    assert (codes == 3).sum() > 50
    assert image[codes == 3].mean() > image[codes != 3].mean()
    nowhere = np.zeros_like(codes)
    data.paste(rng, image, nowhere, cuts[0], ground=[1])
    assert not nowhere.any()


def test_looks_keep_shape_and_kind(loaded):
    _, _, sources, _ = loaded
    rng = np.random.default_rng(0)
    for _ in range(60):
        image = augment.change_look(rng, sources[0].images[0], sources[0].codes[0], 1.5,
                                    sources[1].look[0])
        assert image.shape == (96, 128, 3)
        assert image.dtype == np.uint8


def test_noise_is_in_every_channel_and_of_its_own():
    noisy = augment._noise(np.random.default_rng(0), np.full((96, 128, 3), 120, np.uint8)).astype(float)
    assert (noisy.std((0, 1)) > 1.5).all()
    assert np.abs(np.corrcoef(noisy.reshape(-1, 3).T) - np.eye(3)).max() < 0.1


def test_things_on_the_road_are_obstacles_and_paint_stays_road():
    rng = np.random.default_rng(0)
    codes = np.zeros((96, 128), np.uint8)
    codes[40:] = 1
    image = np.full((96, 128, 3), 90, np.uint8)
    texture = rng.integers(0, 255, (96, 128, 3), np.uint8)
    drawn = 0
    for _ in range(30):
        thing, marked = image.copy(), codes.copy()
        synthetic_obstacles.add_thing(rng, thing, marked, [1], 7, texture)
        changed = marked != codes
        assert set(np.unique(marked[changed])) <= {7}
        if changed.any():
            drawn += 1
            assert np.abs(thing[changed].astype(int) - 90).mean() > 3
    assert drawn > 20
    walls = 0
    for _ in range(30):
        wall, marked = image.copy(), codes.copy()
        synthetic_obstacles.add_wall(rng, wall, marked, [1], 7, texture)
        walls += (marked == 7).any()
        assert np.array_equal(wall[:10], image[:10])  # no wall reaches the sky here
    assert walls > 10
    painted, marked = image.copy(), codes.copy()
    for _ in range(10):
        synthetic_obstacles.add_paint(rng, painted, marked, [1])
    assert np.array_equal(marked, codes)
    assert (painted[40:] != 90).any()
    assert (painted[:40] == 90).all()


def test_some_things_are_thin_and_some_have_the_roads_colour():
    rng = np.random.default_rng(1)
    codes = np.ones((192, 256), np.uint8)
    codes[:40] = 0
    image = np.full((192, 256, 3), (80, 90, 100), np.uint8)
    texture = np.full_like(image, (0, 0, 255))
    thin, alike = [], []
    for _ in range(200):
        thing, marked = image.copy(), codes.copy()
        synthetic_obstacles.add_thing(rng, thing, marked, [1], 7, texture)
        mask = marked == 7
        if not mask.any():
            continue
        tall = np.ptp(np.flatnonzero(mask.any(1))) + 1
        thin.append(2 * cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3).max() < tall / 3)
        inside = cv2.erode(mask.astype(np.uint8), np.ones((3, 3))) > 0
        factors = thing[inside].mean(0) / image[0, 0] if inside.any() else np.zeros(3)
        alike.append(np.ptp(factors) < 0.15 and abs(factors.mean() - 1) > 0.08)
    assert len(thin) > 150
    assert np.mean(thin) > 0.1
    assert np.mean(alike) > 0.1


def test_a_thing_may_be_any_obstacle(loaded):
    _, table, sources, allowed = loaded
    samples = data.Samples(sources, table, Recipe(thing_share=1), allowed)
    assert allowed[samples._obstacle].tolist() == [c.group is Group.OBSTACLE for c in table.classes]


def test_a_look_of_no_strength_leaves_the_picture_alone(loaded):
    _, _, sources, _ = loaded
    image = sources[0].images[0]
    changed = augment.change_look(np.random.default_rng(0), image, sources[0].codes[0], 0.0,
                                  sources[0].look[0])
    assert np.array_equal(changed, image)


@pytest.mark.parametrize("workers", [1, 2, None])
def test_batches_do_not_depend_on_who_prepares_them(loaded, workers):
    _, table, sources, allowed = loaded

    def batches(count, device="cpu"):
        samples = data.Samples(sources, table, replace(RECIPE, workers=count), allowed)
        schedule = data.Schedule((0.75, 0.25), samples.recipe, 0, lambda step: step / 4)
        return list(islice(data.loader(samples, schedule, torch.device(device)), 4))

    for ours, theirs in zip(batches(workers), batches(0), strict=True):
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_a_gpu_is_kept_busy(loaded, monkeypatch):
    _, table, sources, allowed = loaded
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))

    def workers(device, **changes):
        samples = data.Samples(sources, table, replace(RECIPE, **changes), allowed)
        schedule = data.Schedule((0.75, 0.25), RECIPE, 0, lambda _: 0.0)
        return data.loader(samples, schedule, torch.device(device)).num_workers

    assert (workers("cuda"), workers("cuda", replicas=2), workers("cuda", workers=3), workers("cpu")) == (15, 7, 3, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a fork is not safe")
def test_workers_share_the_pictures_of_a_replica(loaded):
    """A replica is spawned, and would spawn its workers with a copy of each picture."""
    _, table, sources, allowed = loaded
    samples = data.Samples(sources, table, replace(RECIPE, workers=1), allowed)
    schedule = data.Schedule((0.75, 0.25), RECIPE, 0, lambda _: 0.0)
    loader = data.loader(samples, schedule, torch.device("cpu"))
    assert loader.multiprocessing_context.get_start_method() == "fork"


def test_rare_classes_weigh_more(loaded):
    _, table, sources, allowed = loaded
    book = data.code_book(sources[:1], allowed, table, replace(RECIPE, class_weight_power=0.5))
    share = np.array([sum((codes == c).mean() for codes in sources[0].codes) for c in range(4)]) / len(sources[0].codes)
    assert (share > 1e-4).all()
    weights = book.weights[:4].numpy()
    assert weights * share ** 0.5 == pytest.approx(np.full(4, weights[0] * share[0] ** 0.5))
    assert (weights * share).sum() == pytest.approx(1)


def test_a_phase_may_change_the_look_less(loaded):
    _, table, sources, allowed = loaded
    recipe = replace(RECIPE, phases=(Phase(0.5, (64, 96), (1, 1)), Phase(1.0, (64, 96), (1, 1), look=0.0)))
    early, late = (next(iter(data.Schedule((0.75, 0.25), recipe, 0, lambda _, at=at: at))) for at in (0.2, 0.7))
    assert ({request.look for request in early}, {request.look for request in late}) == ({1.0}, {0.0})
    samples = [data.Samples(sources, table, replace(recipe, look_strength=look), allowed) for look in (1.0, 0.0)]
    for request in late:
        assert torch.equal(samples[0][request][0], samples[1][request][0]), "no change left"
    assert any(not torch.equal(samples[0][request][0], samples[1][request][0]) for request in early)
