"""A generation service on scripted engines, closed and found empty behind every test."""

import threading

import pytest

from mlxk_core._generation.request import GenerationRequest, Message
from mlxk_core._generation.service import GenerationService
from mlxk_core._host.host import Host
from mlxk_testing.fake_engine import fake_model


class House:
    """A service on scripted engines, and the way to ask it things."""

    GRACE = 180  # seconds after which a test is stuck; never a measure of speed

    def __init__(self, folder):
        self.folder = folder
        self.host = Host(strict=True)
        self.service = None

    def open(self, *plugins, **options):
        for number, plugin in enumerate(plugins):
            self.host.register(plugin, name=f"fake{number}")
        self.service = GenerationService(self.host, **options)
        return self.service

    def model(self, name="alpha", **options):
        return fake_model(self.folder / name, **options)

    def request(self, model, prompt="Hi", *, raw=False, **options):
        if isinstance(prompt, str) and not raw:
            prompt = (Message(role="user", content=prompt),)
        return GenerationRequest(model=model, prompt=prompt, **options)

    def ask(self, model, prompt="Hi", **options):
        return self.service.submit(self.request(model, prompt, **options))

    def wait_for(self, condition):
        """Waits until a condition of another thread holds."""
        tick = threading.Event()
        for _ in range(self.GRACE * 200):
            if condition():
                return
            tick.wait(0.005)
        raise AssertionError("it never came to that")

    def until(self, generation, kind):
        for event in generation:
            if isinstance(event, kind):
                return event
        raise AssertionError(f"no {kind.__name__} came")


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    yield house
    if house.service is not None:
        assert house.service.close(house.GRACE)
        status = house.service.status()
        assert (status.active, status.waiting, status.models) == (0, 0, ())
