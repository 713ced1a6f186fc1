"""What tests of the wire formats share."""

from tests.support.upstreams import openai as upstream
from tests.support.upstreams import poe

__all__ = ["poe", "upstream"]
