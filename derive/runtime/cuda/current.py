"""The device that calls use: the GPU, found at the first call."""

from __future__ import annotations

from .device import Device

_device: list[Device] = []


def current() -> Device:
    """Return the device.

    Raises
    ------
    RuntimeError
        If there is none that can be used; it says what is missing.
    """
    if not _device:
        from .gpu import Gpu

        _device.append(Gpu())
    return _device[0]


def use(device: Device) -> None:
    """Let calls use a device: that of a test, say."""
    _device[:] = [device]
