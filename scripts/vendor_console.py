"""The console's libraries: taken from their npm packages, and compared with them.

    python scripts/vendor_console.py            # compare proxy/console/vendor with npm
    python scripts/vendor_console.py --write    # take the files of PACKAGES anew

`npm` fetches each package and checks its integrity. A file is kept as it was published except
where a browser needs it otherwise: a bare import becomes a relative one, and a script that only
sets a global exports it too. Both are written down here, so a comparison covers them.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

VENDOR = Path(__file__).resolve().parent.parent / "proxy" / "console" / "vendor"
MANIFEST = VENDOR / "vendor.json"

BARE_IMPORTS = {
    b'from"preact"': b'from"./preact.mjs"',
    b'from"preact/hooks"': b'from"./hooks.mjs"',
    b'from"@preact/signals-core"': b'from"./signals-core.mjs"',
}

LANGUAGES = (
    "bash",
    "cpp",
    "css",
    "diff",
    "go",
    "java",
    "javascript",
    "json",
    "python",
    "rust",
    "sql",
    "typescript",
    "xml",
    "yaml",
)


@dataclass(frozen=True)
class Package:
    """An npm package: published path → our name, and what a script's global is exported as."""

    name: str
    version: str
    license: str
    license_file: str
    files: dict[str, str]
    exports: str = ""

    @property
    def license_name(self) -> str:
        return f"LICENSE-{self.name.removeprefix('@').replace('/', '-')}.txt"


PACKAGES = (
    Package(
        "preact",
        "11.2.0",
        "MIT",
        "LICENSE",
        {"dist/preact.mjs": "preact.mjs", "hooks/dist/hooks.mjs": "hooks.mjs"},
    ),
    Package("htm", "3.1.1", "Apache-2.0", "LICENSE", {"dist/htm.module.js": "htm.mjs"}),
    Package("@preact/signals", "2.11.4", "MIT", "LICENSE", {"dist/signals.mjs": "signals.mjs"}),
    Package(
        "@preact/signals-core",
        "",
        "MIT",
        "LICENSE",
        {"dist/signals-core.mjs": "signals-core.mjs"},
    ),
    Package(
        "markdown-it",
        "15.0.3",
        "MIT",
        "LICENSE",
        {"dist/browser/markdown-it.umd.min.js": "markdown-it.mjs"},
        "markdownit",
    ),
    Package(
        "dompurify",
        "3.4.18",
        "MPL-2.0 OR Apache-2.0",
        "LICENSE",
        {"dist/purify.min.js": "purify.mjs"},
        "DOMPurify",
    ),
    Package(
        "@highlightjs/cdn-assets",
        "11.12.0",
        "BSD-3-Clause",
        "LICENSE",
        {
            "es/core.min.js": "highlight.mjs",
            **{f"es/languages/{name}.min.js": f"languages/{name}.mjs" for name in LANGUAGES},
        },
    ),
    Package(
        "uplot",
        "1.6.32",
        "MIT",
        "LICENSE",
        {"dist/uPlot.iife.min.js": "uplot.mjs", "dist/uPlot.min.css": "uplot.css"},
        "uPlot",
    ),
    Package("diff", "9.0.0", "BSD-3-Clause", "LICENSE", {"dist/diff.min.js": "diff.mjs"}, "Diff"),
)


def unpacked(package: Package, version: str, folder: Path) -> tuple[tarfile.TarFile, str]:
    """Fetch a package with npm; its archive and its integrity."""
    command = ["npm", "pack", f"{package.name}@{version}", "--json", "--silent"]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    (packed,) = json.loads(done.stdout)
    return tarfile.open(folder / packed["filename"]), packed["integrity"]


def published(archive: tarfile.TarFile, path: str) -> bytes:
    """One file of a package."""
    found = archive.extractfile(f"package/{path}")
    assert found is not None, path
    return found.read()


def for_browsers(content: bytes, name: str, exports: str) -> bytes:
    """Return the file as the console serves it."""
    for bare, relative in BARE_IMPORTS.items():
        content = content.replace(bare, relative)
    lines = [line for line in content.splitlines() if not line.startswith(b"//# sourceMapping")]
    content = b"\n".join(lines) + b"\n"
    if exports and name.endswith(".mjs"):
        # `var uPlot=…` is no global in a module; the others set one.
        found = exports if f"var {exports}=" in content.decode() else f"globalThis.{exports}"
        content += f"export default {found};\n".encode()
    return content


def taken() -> tuple[dict[str, bytes], list[dict[str, object]]]:
    """Every file as it should be, and the manifest that names them."""
    files: dict[str, bytes] = {}
    manifest: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        core = ""
        for package in PACKAGES:
            archive, integrity = unpacked(package, package.version or core, Path(folder))
            about = json.loads(published(archive, "package.json"))
            core = about.get("dependencies", {}).get("@preact/signals-core", core).lstrip("^~")
            hashes = {}
            for path, name in package.files.items():
                content = for_browsers(published(archive, path), name, package.exports)
                files[name] = content
                hashes[name] = hashlib.sha256(content).hexdigest()
            files[package.license_name] = published(archive, package.license_file)
            manifest.append(
                {
                    "package": package.name,
                    "version": about["version"],
                    "license": package.license,
                    "license_file": package.license_name,
                    "integrity": integrity,
                    "sha256": hashes,
                }
            )
    return files, manifest


def main() -> int:
    """Compare, or write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="take the files anew")
    arguments = parser.parse_args()
    files, manifest = taken()
    files[MANIFEST.name] = json.dumps(manifest, indent=2).encode() + b"\n"
    if arguments.write:
        for name, content in files.items():
            path = VENDOR / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    there = {
        str(path.relative_to(VENDOR)): path.read_bytes()
        for path in VENDOR.rglob("*")
        if path.is_file()
    }
    wrong = sorted(name for name in files | there if files.get(name) != there.get(name))
    for name in wrong:
        print(f"{name}: not what npm publishes", file=sys.stderr)
    if not wrong:
        print(f"{len(there)} files are what npm publishes")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
