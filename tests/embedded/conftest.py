"""What tests of the embedded database share."""

from tests.support.data_directories import new, prepared, settings

__all__ = ["new", "prepared", "settings"]
