"""Certificates that only the owner of the data directory has: for the server, and for its clients.

    <data_dir>/tls/       700
    ├── ca.pem            600   what both sides check each other by
    ├── server.pem        600   the server's certificate
    ├── server-key.pem    600   and its key
    └── client.pem        600   a client's key and certificate in one file, as MongoDB's tools want

They are made anew at every start. The authority's key never leaves the memory of the process
that signs with it, so nobody can make another client's certificate later.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from proxy.embedded.child import write_private
from proxy.embedded.state import EmbeddedError

SIGNING_SECONDS = 60
"""How long the process that makes them may take: a tenth of a second where nothing is busy."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """Where the files lie."""

    folder: Path

    @property
    def authority(self) -> Path:
        """The certificate that signed the others."""
        return self.folder / "ca.pem"

    @property
    def client(self) -> Path:
        """A client's key and certificate."""
        return self.folder / "client.pem"

    @property
    def server_flags(self) -> list[str]:
        """The flags that let the server speak TLS with holders of a certificate only."""
        return [
            *("--tls-cert-file", str(self.folder / "server.pem")),
            *("--tls-key-file", str(self.folder / "server-key.pem")),
            *("--tls-ca-file", str(self.authority)),
            "--tls-require-client-cert",
        ]

    @property
    def uri_options(self) -> str:
        """The options of a connection string: `tls=true&tlsCAFile=…&tlsCertificateKeyFile=…`."""
        return (
            f"tls=true&tlsCAFile={quote(str(self.authority), safe='/')}"
            f"&tlsCertificateKeyFile={quote(str(self.client), safe='/')}"
        )

    def make(self, host: str) -> None:
        """Write new ones for a server at an IP address, mode 600.

        Raises:
            EmbeddedError: they cannot be made.
        """
        # By its file, as importing its package would take longer than what it does; `-P` keeps
        # the modules beside that file from standing in for others of their names.
        program = [sys.executable, "-P", str(Path(__file__).with_name("signing.py")), host]
        try:
            made = subprocess.run(
                program,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=True,
                timeout=SIGNING_SECONDS,
                encoding="utf-8",
                # A Ctrl-C in the terminal is for the server alone.
                start_new_session=True,
            )
            files = json.loads(made.stdout)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            said = getattr(error, "stderr", None) or getattr(error, "strerror", None) or ""
            why = said.strip().splitlines()[-1:] or [type(error).__name__]
            raise EmbeddedError(
                f"The certificates of the embedded database cannot be made ({why[0]}): "
                "install this package anew, or set PROXY_MONGODB_URI to a MongoDB server"
            ) from None
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.folder.chmod(0o700)
        for name, text in files.items():
            write_private(self.folder / name, text)
