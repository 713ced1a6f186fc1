"""What tests of whole replies share."""

from tests.support.upstreams import engine_database_name, openai, poe, upstream, wire

__all__ = ["engine_database_name", "openai", "poe", "upstream", "wire"]
