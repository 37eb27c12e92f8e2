"""The camera on its vehicle along a bag: a CameraInfo that changes, its pose from the bag's TF."""

import weakref

import numpy as np
import pytest
from bags import DELAY_NS, TYPES, info, raw, ros1_types, stamp, street, transform, write_bag, write_ros1_bag
from rosbags.rosbag2 import Reader, StoragePlugin, Writer

from drive_seg.core.camera import Camera, CameraError
from drive_seg.core.grid import Grid, GridShape
from drive_seg.core.ground import CameraPose, GroundView
from drive_seg.core.mounted import Mount
from drive_seg.outputs.ground import CameraState, GroundTables
from drive_seg.replay.messages import BAG
from drive_seg.replay.transforms import TransformError, Transforms
from drive_seg.sources.bag import Bag

OPTICAL = (-0.5, 0.5, -0.5, 0.5)  # x forward, z up <- z forward, y down
LEVEL = (0.0, 0.0, 0.0, 1.0)


def about_y(radians):
    """Looks down by an angle."""
    return (0.0, np.sin(radians / 2), 0.0, np.cos(radians / 2))


def view(pose, focal=150.0):
    k = (focal, 0, 100, 0, focal, 60, 0, 0, 1)
    return GroundView(Camera.from_info(height=120, width=200, k=k), pose)


def check_grids(replay, views):
    """Each frame's grid is the core's, for the view that is given for it."""
    frames = replay.masks(outputs=("labels", "drivable_area", "grid"))
    assert len(frames) == len(views)
    grids = {id(v): Grid(v, GridShape()) for v in views}
    for number, (frame, seen) in enumerate(zip(frames, views, strict=True)):
        sight = seen.see(frame.images["labels"], frame.images["drivable_area"])
        assert np.array_equal(frame.images["grid"], grids[id(seen)].fill(sight)), number


def geometry(replay):
    """What health says of the geometry at each frame."""
    return ["; ".join(r for r in f["reasons"] if r.startswith("geometry")) for f in replay.frames()]


def on_a_mast(height=1.5):
    """base_link <- mast <- camera_front, static and recorded after the first images have come."""
    late = stamp(3)
    return [("/tf_static", late, transform("base_link", "mast", (0.5, 0.1, height), about_y(0.1))),
            ("/tf_static", late, transform("mast", "camera_front", (0.2, 0, 0), OPTICAL))]


POSE = CameraPose.mounted(1.5 - 0.2 * np.sin(0.1), 0.1, x=0.5 + 0.2 * np.cos(0.1), y=0.1)


def test_the_pose_comes_from_the_bag_s_static_tf(replay, tmp_path):
    assert replay(write_bag(tmp_path / "street", transforms=on_a_mast())) == 0
    check_grids(replay, [view(POSE)] * 12)
    assert replay.summary()["bag"]["camera_pose_from"] == "tf"
    assert not any(geometry(replay))


def test_messages_that_can_t_be_read_cost_nothing_else(replay, tmp_path):
    """The first image, one of TF and one CameraInfo are bytes of nothing."""
    messages = [raw(i, street(i)) for i in range(12)]
    messages[0] = b""
    bag = write_bag(tmp_path / "street", messages=messages, transforms=[*on_a_mast(), ("/tf_static", stamp(5), b"")],
                    make_info=lambda number, *size: b"" if number == 6 else info(number, *size))
    assert replay(bag) == 1
    assert replay.summary()["frames"] == {"total": 12, "segmented": 11, "failed": 1, "withheld": 0}
    assert "0 bytes in" in replay.frames()[0]["problem"]
    check_grids(replay, [view(POSE)] * 11)
    assert not any(geometry(replay))


def test_parameters_go_before_tf(replay, tmp_path):
    bag = write_bag(tmp_path / "street", transforms=on_a_mast())
    assert replay(bag, "--camera-height", "1.2", "--camera-pitch", "0.1") == 0
    check_grids(replay, [view(CameraPose.mounted(1.2, 0.1))] * 12)
    assert replay.summary()["bag"]["camera_pose_from"] == "parameters"


@pytest.mark.parametrize("transforms", [
    [("/tf_static", stamp(0), transform("base_link", "another_camera", (0, 0, 1), OPTICAL))],
    [("/tf_static", stamp(0), transform("base_link", "mast", (0, 0, 1), OPTICAL))], []], ids=["other", "cut", "none"])
def test_tf_that_does_not_lead_to_the_camera_tells_nothing_of_the_ground(replay, tmp_path, transforms):
    assert replay(write_bag(tmp_path / "street", transforms=transforms)) == 0
    with Bag(replay.out / "street" / "result") as bag:
        assert not {"/drive_seg/grid", "/drive_seg/scan"} & {t.name for t in bag.topics}
    assert not any(geometry(replay)), "nobody asked for it"


def test_a_ros_1_bag_s_tf(replay, tmp_path):
    types = ros1_types()
    mast = transform("/base_link", "/mast", (0, 0, 1.5), about_y(0.1), stamp(0), types)
    transforms = [("/tf_static", transform("mast", "camera_front", (0, 0, 0), OPTICAL, types=types)), ("/tf", mast)]
    assert replay(write_ros1_bag(tmp_path / "street.bag", 2, transforms)) == 0
    check_grids(replay, [view(CameraPose.mounted(1.5, 0.1))] * 2)
    assert replay.summary()["bag"]["camera_pose_from"] == "tf"


def test_a_tf_topic_of_a_type_that_nobody_knows_is_passed_over(replay, tmp_path):
    """As of tf, before tf2: nothing can be read of it, and nothing must."""
    bag = write_bag(tmp_path / "street", 4, transforms=on_a_mast())
    odd = tmp_path / "odd" / "street"
    odd.parent.mkdir()
    with Reader(bag) as reader, Writer(odd, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        to = {c.topic: writer.add_connection(c.topic, c.msgtype, typestore=TYPES,
                                             offered_qos_profiles=c.ext.offered_qos_profiles)
              for c in reader.connections}
        strange = writer.add_connection("/tf", "old_msgs/msg/tfMessage", msgdef="int32 x", rihs01="RIHS01_0")
        for connection, log_ns, data in reader.messages():
            writer.write(to[connection.topic], log_ns, data)
            writer.write(strange, log_ns, bytes(8))
    assert replay(odd) == 0
    check_grids(replay, [view(POSE)] * 4)


def test_a_pose_that_moves_is_taken_at_the_image_s_stamp(replay, tmp_path):
    """The mast sinks; TF tells it between the images, and stops after frame 7."""
    heights = {number: 1.5 - 0.02 * number for number in range(8)}
    moving = [("/tf", stamp(0) - DELAY_NS, transform("base_link", "mast", (0, 0, 1.52), about_y(0.1),
                                                     stamp(0) - 100_000_000))]
    moving += [("/tf", stamp(n), transform("base_link", "mast", (0, 0, heights[n]), about_y(0.1), stamp(n)))
               for n in heights]
    fixed = [("/tf_static", stamp(0) - DELAY_NS, transform("mast", "camera_front", (0, 0, 0), OPTICAL))]
    assert replay(write_bag(tmp_path / "street", 12, transforms=[*fixed, *moving])) == 0
    reported = geometry(replay)
    assert not any(reported[:10]), "0.2 s without it are forgiven"
    assert "the newest transform of 'mast' is 0.30 s older than the image" in reported[10] and reported[11]
    grids = [m.images.get("grid") for m in replay.masks(outputs=("labels", "drivable_area", "grid"))]
    assert [grid is not None for grid in grids] == [True] * 10 + [False] * 2
    for number, frame in enumerate(replay.masks(outputs=("labels", "drivable_area"))[:10]):
        seen = view(CameraPose.mounted(heights[min(number, 7)], 0.1))
        sight = seen.see(frame.images["labels"], frame.images["drivable_area"])
        assert np.array_equal(grids[number], Grid(seen, GridShape()).fill(sight)), number


def test_a_camera_info_that_changes_is_honoured(replay, tmp_path):
    def zoomed(number, height, width):
        message = info(number, height, width)
        if number >= 6:
            message.k[[0, 4]] = 220.0
        return message

    bag = write_bag(tmp_path / "street", make_info=zoomed)
    assert replay(bag, "--camera-height", "1.2", "--camera-pitch", "0.1") == 0
    pose = CameraPose.mounted(1.2, 0.1)
    check_grids(replay, [view(pose)] * 6 + [view(pose, 220.0)] * 6)


def test_a_camera_info_that_becomes_another_camera_s_is_reported(replay, tmp_path):
    """Masks go on, as with the node; grid and scan don't."""
    bag = write_bag(tmp_path / "street", make_info=lambda n, h, w: info(n, h, w) if n < 6 else info(n, 2 * h, 2 * w))
    assert replay(bag, "--camera-height", "1.2", "--camera-pitch", "0.1") == 0
    masks = replay.masks(outputs=("labels", "grid"))
    assert len(masks) == 12 and [("grid" in m.images) for m in masks] == [True] * 6 + [False] * 6
    reported = geometry(replay)
    assert not any(reported[:6])
    assert all("describes 400x240 images, these are 200x120" in reason for reason in reported[6:])
    assert "READY" not in {f["health"] for f in replay.frames()[6:]}


@pytest.mark.parametrize("bad", [1, 12], ids=["the first", "every one"])
def test_a_camera_info_that_can_t_be_takes_no_masks_away(replay, tmp_path, bad):
    def wrong(number, height, width):
        message = info(number, height, width)
        if number < bad:
            message.k[4] = 50_000.0
        return message

    bag = write_bag(tmp_path / "street", make_info=wrong)
    assert replay(bag, "--camera-height", "1.2", "--camera-pitch", "0.1") == 0
    masks = replay.masks(outputs=("labels", "grid"))
    assert len(masks) == 12 and [("grid" in m.images) for m in masks] == [False] * bad + [True] * (12 - bad)
    assert all("no camera has focal lengths" in reason for reason in geometry(replay)[:bad])


def test_a_ground_that_can_t_be_built_keeps_no_frames():
    wrong, ground = CameraState(info(0, 240, 400), "", CameraPose.mounted(1.2, 0.1)), GroundTables(BAG, Mount(1.2))
    frames, reported = [], []

    def look():
        frame = street(0)
        frames.append(weakref.ref(frame))
        try:
            ground.find(wrong, frame.shape[:2], frame.shape[:2])
        except CameraError as error:
            reported.append(str(error))

    for _ in range(3):
        look()
    assert [frame() is None for frame in frames] == [True] * 3
    assert len(reported) == 3 and len(set(reported)) == 1 and "describes 400x240 images" in reported[0]


def test_the_camera_info_of_another_camera_of_this_size_measures_nothing():
    message, pose, size = info(0, 120, 200), CameraPose.mounted(1.2, 0.1), (120, 200)
    message.header.frame_id = "rear_camera"
    with pytest.raises(CameraError, match="CameraInfo is of frame 'rear_camera', the images are of 'front_camera'"):
        GroundTables(BAG, Mount(1.2)).find(CameraState(message, "front_camera", pose), size, size)
    for same in ("rear_camera", "/rear_camera", ""):
        assert GroundTables(BAG, Mount(1.2)).find(CameraState(message, same, pose), size, size)


def test_nan_where_it_does_not_count_builds_nothing_anew():
    def look():
        message = info(0, 120, 200)
        message.r, message.p = np.full(9, np.nan), np.full(12, np.nan)
        return ground.find(CameraState(message, "", CameraPose.mounted(1.2, 0.1)), (120, 200), (120, 200))

    ground = GroundTables(BAG, Mount(1.2))
    assert look() is look()


def test_a_camera_of_another_size_in_mid_bag_is_measured_anew(replay, tmp_path):
    """Image and CameraInfo change together."""
    def paint(number):
        return street(number) if number < 6 else street(number, 240, 400)

    def make_info(number, height, width):
        message = info(number, height, width)
        message.k[[0, 4]] = 150.0 * height / 120
        return message

    bag = write_bag(tmp_path / "street", paint=paint, make_info=make_info)
    assert replay(bag, "--camera-height", "1.2", "--camera-pitch", "0.1") == 0
    masks = replay.masks(outputs=("labels", "grid"))
    assert all("grid" in m.images for m in masks)
    assert (masks[0].images["labels"].shape, masks[-1].images["labels"].shape) == ((120, 200), (240, 400))


def transforms(*entries):
    found = Transforms()
    for parent, child, translation, quaternion, at, static in entries:
        found.add(transform(parent, child, translation, quaternion, at), static)
    return found


def test_a_chain_goes_up_and_down():
    """map <- base_link and map <- camera: from the camera up to the map and down to base_link."""
    turned = (0.0, 0.0, np.sin(np.pi / 4), np.cos(np.pi / 4))  # a quarter to the left
    tf = transforms(("map", "base_link", (10, 5, 0), turned, 0, True), ("/map", "/camera", (10, 7, 1), LEVEL, 0, True))
    pose = tf.pose("base_link", "camera", 0)
    assert np.allclose(pose.translation, (2, 0, 1))
    assert np.allclose(pose.rotation @ (0, 1, 0), (1, 0, 0)), "the camera's left is ahead of base_link"


@pytest.mark.parametrize("odometry", [(0, 10**9), (9 * 10**9, 10 * 10**9)], ids=["stale", "late"])
@pytest.mark.parametrize("target", ["base_link", "front"])
def test_what_is_above_the_common_frame_does_not_matter(odometry, target):
    """Odometry that stopped, or that begins only after the image: the camera sits where it sat."""
    tf = transforms(("base_link", "camera", (2, 0, 1), LEVEL, 0, True),
                    ("base_link", "front", (1, 0, 0), LEVEL, 0, True),
                    *(("odom", "base_link", (5, 5, 0), LEVEL, at, False) for at in odometry))
    pose = tf.pose(target, "camera", 5 * 10**9)
    assert np.allclose(pose.translation, (2 if target == "base_link" else 1, 0, 1))
    with pytest.raises(TransformError, match="older than the image|begin after the image"):
        tf.pose("odom", "camera", 5 * 10**9)


def test_stale_odometry_does_not_end_a_replay_s_grid(replay, tmp_path):
    odometry = [("/tf", stamp(0), transform("odom", "base_link", (9, 9, 0), LEVEL, stamp(0)))]
    mast = [("/tf_static", stamp(0), message) for _, _, message in on_a_mast()]
    assert replay(write_bag(tmp_path / "street", transforms=[*mast, *odometry])) == 0
    check_grids(replay, [view(POSE)] * 12)


def test_frames_in_a_circle_cost_the_ground_alone(replay, tmp_path):
    circle = [("/tf_static", stamp(0), transform("base_link", "camera_front", (0, 0, 1), LEVEL)),
              ("/tf_static", stamp(0), transform("camera_front", "base_link", (0, 0, 1), LEVEL))]
    assert replay(write_bag(tmp_path / "street", transforms=circle)) == 0
    assert len(replay.masks(outputs=("labels",))) == 12


def test_what_moves_has_moved_on_where_odometry_lags():
    jitter = (1.4, 99_000_000)  # of a second publisher, say
    tf = transforms(*(("odom", "base_link", (x, 0, 0), LEVEL, at, False) for x, at in ((0, 0), jitter, (1.5, 10**8))))
    newest, later = (tf.pose("odom", "base_link", at, moves_on=True).translation[0] for at in (10**8, 190_000_000))
    assert (newest, later) == pytest.approx((1.5, 2.85))
    assert tf.pose("odom", "base_link", 190_000_000).translation[0] == 1.5
    with pytest.raises(TransformError, match="older than the image"):
        tf.pose("odom", "base_link", 310_000_000, moves_on=True)
    with pytest.raises(TransformError, match="how it moves is not known"):
        transforms(("odom", "base_link", (0, 0, 0), LEVEL, 0, False)).pose("odom", "base_link", 10**8, moves_on=True)


def test_between_two_transforms_it_turns_evenly():
    tf = transforms(("base_link", "camera", (0, 0, 1), about_y(0.2), 10**9, False),
                    ("base_link", "camera", (0, 0, 3), tuple(-v for v in about_y(0.6)), 2 * 10**9, False))
    pose = tf.pose("base_link", "camera", 1_250_000_000)
    assert np.allclose(pose.translation, (0, 0, 1.5))
    assert pose.close_to(CameraPose.from_quaternion((0, 0, 1.5), about_y(0.3)))


@pytest.mark.parametrize(("at", "message"), [(0, "begin after the image"), (3 * 10**9, "1.00 s older than the image")])
def test_outside_of_what_is_known_there_is_none(at, message):
    tf = transforms(*(("base_link", "camera", (0, 0, 1), LEVEL, n * 10**9, False) for n in (1, 2)))
    with pytest.raises(TransformError, match=message):
        tf.pose("base_link", "camera", at)


def test_time_that_jumps_back_forgets_what_moves():
    tf = transforms(("base_link", "camera", (0, 0, 1), LEVEL, 50 * 10**9, False),
                    ("base_link", "camera", (0, 0, 2), LEVEL, 10 * 10**9, False))
    assert tf.pose("base_link", "camera", 10 * 10**9).translation[2] == 2


def test_a_circle_is_reported():
    tf = transforms(("a", "b", (0, 0, 1), LEVEL, 0, True), ("b", "a", (0, 0, 1), LEVEL, 0, True))
    with pytest.raises(TransformError, match="circle"):
        tf.pose("a", "b", 0)
