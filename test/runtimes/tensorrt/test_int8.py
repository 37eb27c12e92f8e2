"""The 8-bit network that TensorRT is given labels pictures as the float one does, rounded as a GPU would."""

from __future__ import annotations

import cv2
import numpy as np
import onnxruntime
import pytest

from drive_seg.core.frame import Frame
from drive_seg.core.segmenter import Segmenter
from drive_seg.core.selftest import check_answer
from drive_seg.network import Network
from drive_seg.resources import default_network
from drive_seg.runtimes import open_engine
from drive_seg.runtimes.host import HostEngine
from drive_seg.sources.clip import CLIPS


class InInt8(HostEngine):
    """The file for TensorRT on ONNX Runtime, every quantisation computed as it says: no sum saturates."""

    name, device, precision = "test", "this processor", "int8"

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        options.log_severity_level = 3
        options.intra_op_num_threads = 1  # threads that wait for work spin
        self._session = onnxruntime.InferenceSession(str(network.int8_gpu), options, ["CPUExecutionProvider"])

    def infer(self, image: np.ndarray) -> np.ndarray:
        planes = np.ascontiguousarray(image.transpose(2, 0, 1), np.float16)[None]
        return self._session.run(None, {"image": planes})[0][0].astype(np.float32)


@pytest.fixture(scope="module")
def engine():
    network = Network.load(default_network())
    with InInt8(network) as engine:
        yield engine


def test_it_passes_the_network_s_self_test(engine):
    check_answer(Segmenter(engine, engine.network.table), engine.network.self_test)


@pytest.mark.parametrize("name", ["motorway", "forest"])
def test_it_labels_a_real_picture_as_the_float_network_does(engine, clips, name):
    video = cv2.VideoCapture(str(clips / CLIPS[name].file))
    video.set(cv2.CAP_PROP_POS_MSEC, 1000 * CLIPS[name].start)
    frame = Frame.from_array(video.read()[1])
    found = engine.decode(frame, frame.size, {})
    with open_engine("openvino", engine.network, precision="fp32") as exact:
        wanted = exact.decode(frame, frame.size, {})
    assert (found.labels == wanted.labels).mean() > 0.98
    assert not np.array_equal(found.confidence, wanted.confidence)  # else it was not in 8 bits
