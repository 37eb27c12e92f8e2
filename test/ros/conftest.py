"""A ROS graph for each test: its own domain for the session, a fresh context, a client node and an executor."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from drive_seg.play.graph import private_domain
from drive_seg.ros import transport

transport.apply()

import rclpy  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import qos_profile_sensor_data  # noqa: E402


@pytest.fixture(scope="session")
def domain():
    """A ROS domain that nobody else on this machine uses, for this process and its children."""
    with private_domain() as number:
        yield number


@pytest.fixture
def publishers_known():
    """Only where rclpy says with each message who sent it."""
    if not hasattr(rclpy.subscription, "MessageInfo"):
        pytest.skip("rclpy up to Jazzy does not say who sent a message, so `missing` is not known")


class Graph:
    """Nodes of one test that spin together."""

    def __init__(self, context: rclpy.Context) -> None:
        self.context = context
        self.executor = SingleThreadedExecutor(context=context)
        self.nodes: list = []
        self.client = self.add(rclpy.create_node("test_client", context=context))

    def add(self, node):
        """Let a node spin with the others."""
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def segmentation(self, namespace="", **parameters):
        """The real node, configured and active unless autostart=False."""
        from drive_seg.ros.node import SegmentationNode

        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        node = self.add(SegmentationNode(context=self.context, namespace=namespace,
                                         parameter_overrides=overrides))
        node.start_up()
        return node

    def collect(self, kind: type, topic: str, qos=qos_profile_sensor_data) -> list:
        """Subscribe; the returned list fills while the graph spins."""
        received: list = []
        self.client.create_subscription(kind, topic, received.append, qos)
        return received

    def publisher(self, kind: type, topic: str, qos=qos_profile_sensor_data):
        return self.client.create_publisher(kind, topic, qos)

    def spin_until(self, done: Callable[[], bool], timeout: float = 10.0) -> bool:
        """Spin until done() holds; False when it does not in time."""
        end = time.monotonic() + timeout
        while not done():
            if time.monotonic() > end:
                return False
            self.executor.spin_once(timeout_sec=0.02)
        return True

    def spin_for(self, seconds: float) -> None:
        self.spin_until(lambda: False, seconds)

    def connected(self, *publishers) -> bool:
        """Wait until each publisher has a subscriber."""
        return self.spin_until(lambda: all(p.get_subscription_count() for p in publishers))

    def call(self, kind: type, service: str, request):
        """Call a service of a node that spins in this graph or elsewhere."""
        client = self.client.create_client(kind, service)
        assert self.spin_until(client.service_is_ready), f"no service {service}"
        future = client.call_async(request)
        assert self.spin_until(future.done), f"{service} did not answer"
        return future.result()

    def close(self) -> None:
        for node in self.nodes:
            if hasattr(node, "close"):
                node.close()
            node.destroy_node()
        self.executor.shutdown()


@pytest.fixture
def graph(domain):
    """See Graph."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    graph = Graph(context)
    yield graph
    graph.close()
    rclpy.try_shutdown(context=context)
