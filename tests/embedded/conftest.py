"""What tests of the embedded database share."""

from tests.support.data_directories import new, prepared, running, settings

__all__ = ["new", "prepared", "running", "settings"]
