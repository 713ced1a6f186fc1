"""Loopback upstreams that speak the real protocols, with faults that a test scripts."""
