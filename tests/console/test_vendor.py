"""The console's libraries: what stands in the manifest, and nothing else."""

import hashlib
import json
from pathlib import Path

import proxy

VENDOR = Path(proxy.__file__).parent / "console" / "vendor"


def test_every_library_is_the_published_one_with_its_licence() -> None:
    manifest = json.loads((VENDOR / "vendor.json").read_text())
    known = {"vendor.json"}
    for package in manifest:
        assert (VENDOR / package["license_file"]).read_text().strip()
        known.add(package["license_file"])
        for name, sha256 in package["sha256"].items():
            assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == sha256, name
            known.add(name)
    there = {str(path.relative_to(VENDOR)) for path in VENDOR.rglob("*") if path.is_file()}
    assert there == known
