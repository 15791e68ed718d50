"""Builds and runs the images with buildah and podman: no registry, and a storage of its own.

The base is a Debian with Python, made by mmdebstrap: unpacked packages, which is all that an image
needs of them. What the host's pip is told (indexes, folders of wheels, certificates) is told to uv
in the build. Root, buildah, podman, runc and mmdebstrap are needed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from resources.home import CHECKOUT

IMAGES = ("orchestrator", "evaluator", "trainer-cpu")
"""Those that are built here, each with the layers of the one before it."""

NEEDED = ("buildah", "podman", "runc", "mmdebstrap")
BASE = "localhost/ft-base:test"
UV = "localhost/ft-uv:test"
USER = 10001
LABELS = {
    "SOURCE": "https://example.org/ft-assets",
    "VERSION": "0.1.0",
    "REVISION": "0123456789abcdef",
    "CREATED": "2026-01-01T00:00:00Z",
}
_DEBIAN = (
    *("base-files", "bash", "ca-certificates", "coreutils", "dash", "findutils", "grep"),
    *("libc-bin", "libstdc++6", "python3", "sed"),
)
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def missing() -> str:
    """What is not there and needed, in words; empty when images can be built."""
    if os.geteuid() != 0:
        return "building images needs root"
    programs = [name for name in NEEDED if shutil.which(name) is None]
    return f"not installed: {', '.join(programs)}" if programs else ""


@dataclass(frozen=True)
class PackageSources:
    """Where the host's pip takes packages from."""

    indexes: list[str]
    extra_indexes: list[str]
    find_links: list[str]

    @classmethod
    def of_the_host(cls) -> PackageSources:
        """What `pip config list` says: its files and its environment variables."""
        listed = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        found: dict[str, list[str]] = {}
        for line in listed.splitlines():
            key, _, value = line.partition("=")
            words = found.setdefault(key.rsplit(".", 1)[-1], [])
            words += [word for word in value.strip("'\"").split() if word not in words]
        return cls(
            found.get("index-url", []),
            found.get("extra-index-url", []),
            found.get("find-links", []),
        )

    @property
    def folders(self) -> list[Path]:
        """The local folders among them, with what their pages link to beside them."""
        local = []
        for place in (*self.indexes, *self.extra_indexes, *self.find_links):
            parts = urlsplit(place)
            if parts.scheme == "file":
                local.append(Path(url2pathname(parts.path)).parent)
            elif not parts.scheme:
                local.append(Path(place))
        return list(dict.fromkeys(folder for folder in local if folder.is_dir()))

    @property
    def uv_toml(self) -> str:
        """The same for uv; like pip, it takes the best version of all places."""
        lines = [
            "system-certs = true",
            'index-strategy = "unsafe-best-match"',
            f"find-links = {json.dumps(self.find_links)}",
        ]
        for url in self.extra_indexes:
            lines += ["[[index]]", f"url = {json.dumps(url)}"]
        for url in self.indexes:
            lines += ["[[index]]", f"url = {json.dumps(url)}", "default = true"]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Workshop:
    """A storage of images below one folder, with a base to build on."""

    root: Path

    @property
    def environment(self) -> dict[str, str]:
        """What keeps buildah and podman in here."""
        return {
            **os.environ,
            "CONTAINERS_STORAGE_CONF": str(self.root / "storage.conf"),
            "CONTAINERS_CONF": str(self.root / "containers.conf"),
            "TMPDIR": str(self.root / "tmp"),
        }

    def call(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run buildah or podman; a failure shows what it said last."""
        done = subprocess.run(
            command,
            env=self.environment,
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
            timeout=1500,
        )
        if check and done.returncode != 0:
            said = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
            raise AssertionError(f"{' '.join(command)}: exit {done.returncode}\n{said}")
        return done

    def prepare(self) -> None:
        """Write the configuration and make the base and the image that holds uv."""
        (self.root / "tmp").mkdir(parents=True)
        (self.root / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{self.root}/graph"\n'
            f'runroot = "{self.root}/run"\n'
        )
        # Without the limits, runc fails where the host allows fewer files than its default.
        (self.root / "containers.conf").write_text(
            '[containers]\ndefault_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]\n'
            '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
        )
        (self.root / "uv.toml").write_text(PackageSources.of_the_host().uv_toml)
        archive = self.root / "base.tar"
        release = _debian_release()
        self.call(
            *("mmdebstrap", "--variant=extract", f"--include={','.join(_DEBIAN)}"),
            *("--dpkgopt=path-exclude=/usr/share/doc/*", release, str(archive)),
        )
        self.call("podman", "import", "--quiet", str(archive), BASE)
        archive.unlink()
        uv = Path(sys.executable).with_name("uv")
        container = self.call("buildah", "from", "scratch").stdout.strip()
        self.call("buildah", "copy", "--quiet", container, str(uv), "/uv")
        self.call("buildah", "commit", "--quiet", "--rm", container, UV)

    def build(self, image: str) -> str:
        """Build images/IMAGE/Containerfile on the base; returns the image's name."""
        sources = PackageSources.of_the_host()
        folders = [f"--volume={folder}:{folder}:ro" for folder in sources.folders]
        arguments = {
            "BASE_IMAGE": BASE,
            "UV_IMAGE": UV,
            "UV_COMPILE_BYTECODE": "0",  # it costs a test more than it saves it
            **LABELS,
        }
        if image != "orchestrator":
            arguments["TORCH_INDEX"] = ""  # the host's pip knows where a CPU build is
        tag = f"localhost/ft-{image}:test"
        self.call(
            *("buildah", "bud", "--isolation", "chroot", "--network", "host", "--layers"),
            *("--pull-never", "--file", f"images/{image}/Containerfile", "--tag", tag),
            *(f"--build-arg={name}={value}" for name, value in arguments.items()),
            *("--secret", f"id=uv.toml,src={self.root / 'uv.toml'}"),
            *(f"--volume={_CERTIFICATES}:{_CERTIFICATES}:ro", *folders, "."),
        )
        return tag

    def run(
        self,
        image: str,
        *command: str,
        volumes: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in an image as a cluster does: read-only root, /tmp, no network."""
        return self.call(
            *("podman", "run", "--rm", "--read-only", "--tmpfs", "/tmp:rw,size=2g"),
            *("--network", "none", "--cap-drop", "all", "--security-opt", "no-new-privileges"),
            *(f"--volume={volume}" for volume in volumes),
            *(f"--env={name}={value}" for name, value in (environment or {}).items()),
            *(f"localhost/ft-{image}:test", *command),
            check=check,
        )

    def inspect(self, image: str) -> dict[str, Any]:
        """What the image says about itself."""
        return json.loads(
            self.call("podman", "image", "inspect", f"localhost/ft-{image}:test").stdout
        )[0]

    @contextmanager
    def mounted(self, image: str) -> Generator[Path]:
        """The image's files, as a folder of the host."""
        name = f"localhost/ft-{image}:test"
        folder = Path(self.call("podman", "image", "mount", name).stdout.strip())
        try:
            yield folder
        finally:
            self.call("podman", "image", "unmount", name)

    def clear(self) -> None:
        """Remove everything: images are gigabytes."""
        self.call("buildah", "rm", "--all", check=False)
        # buildah leaves stages mounted, and a mounted folder cannot be removed.
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in reversed(mounts):
            if Path(mount).is_relative_to(self.root):
                self.call("umount", "--lazy", mount, check=False)
        shutil.rmtree(self.root, ignore_errors=True)


def _debian_release() -> str:
    """The host's, where it is a Debian, for then its mirror has it; else the one tests began on."""
    words = dict(
        line.rstrip().split("=", 1)
        for line in Path("/etc/os-release").read_text().splitlines()
        if "=" in line
    )
    return words.get("VERSION_CODENAME", "bookworm") if words.get("ID") == "debian" else "bookworm"
