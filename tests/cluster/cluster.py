"""Runs the services of docker/compose.yaml in their order, each healthy before the next starts."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.cluster.compose import Service, load
from tests.cluster.containers import Container, Network, run
from tests.store.buckets import SERVER

ROOT = Path(__file__).parents[2]
COMMIT = "c0ffee" * 6 + "c0ff"
"""The commit recorded in place of the image's. git does not work for the containers' user, who is not the owner."""
_OURS = "hessian-dynamics"
_DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
_PATH = os.pathsep.join(
    [str(Path(sys.executable).parent), *map(str, _DEBIAN[-1:]), "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin"]
)

# Equivalent of the entrypoint of PostgreSQL's image on an empty volume.
_INIT_POSTGRES = """
if [ ! -e "$PGDATA/PG_VERSION" ]; then
    as() { setpriv --reuid "${OWNER%%:*}" --regid "${OWNER##*:}" --clear-groups env -i PATH="$PATH" "$@"; }
    as initdb -D "$PGDATA" -U "$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" $POSTGRES_INITDB_ARGS > /dev/null
    echo "CREATE DATABASE $POSTGRES_DB" | as postgres --single -D "$PGDATA" postgres > /dev/null
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
fi
"""


def why_not() -> str | None:
    """Returns why the cluster cannot start on this machine, or None if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [name for name in ("ip", "unshare", "nsenter", "setpriv") if shutil.which(name) is None]
    missing += [] if shutil.which("initdb", path=_PATH) else ["postgresql"]
    missing += [] if shutil.which("moto_server", path=_PATH) else ["moto"]
    if missing:
        return f"not installed: {', '.join(missing)} (apt-get install iproute2 postgresql; moto comes with make)"
    try:
        run("ip", "netns", "add", "hd-probe")
        run("ip", "netns", "del", "hd-probe")
    except RuntimeError as error:
        return f"no network namespaces here: {error}"
    return None


class Cluster:
    """A copy of docker/ with new secrets, and the containers started from it. All of them are ended on exit."""

    def __init__(self, scratch: Path, **variables: str) -> None:
        self.scratch = scratch
        self.docker = scratch / "docker"
        shutil.copytree(ROOT / "docker", self.docker, ignore=shutil.ignore_patterns("secrets", ".env"))
        self.made = run(str(self.docker / "secrets.sh"))
        dotenv = dict(line.split("=", 1) for line in (self.docker / ".env").read_text().splitlines())
        self._variables = {"COMMIT": COMMIT, **dotenv, **variables}
        self.services = load([self.docker / "compose.yaml"], self._variables)
        self.networks: dict[str, Network] = {}
        self.containers: dict[str, Container] = {}
        self._numbers = 0

    def __enter__(self) -> Self:
        _remove_leftovers()
        self._make_networks()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for container in self.containers.values():
            container.end()
        _remove_leftovers()
        if error is not None:
            for container in self.containers.values():
                print(f"--- {container.name} (started {container.starts} times)\n{container.output[-3000:]}")

    @contextmanager
    def overridden(self, name: str) -> Iterator[None]:
        """Applies another compose file to containers created in this block; existing ones join its networks."""
        before = self.services
        self.services = load([self.docker / "compose.yaml", self.docker / name], self._variables)
        self._make_networks()
        for container in self.containers.values():
            described = self.services.get(container.service.name)
            for network in described.networks if described else ():
                if network not in container.addresses:
                    container.join(self.networks[network])
        self._write_hosts()
        try:
            yield
        finally:
            self.services = before

    def secret(self, name: str) -> str:
        return (self.docker / "secrets" / name).read_text()

    def volume(self, name: str) -> Path:
        return self.scratch / "volumes" / name

    def make(self, service: str, name: str | None = None, command: list[str] | None = None) -> Container:
        """Returns a container of a service that is not started yet, optionally with another command."""
        described = self.services[service]
        self._numbers += 1
        ours = described.image.startswith(f"{_OURS}:")
        environment = {"PATH": _PATH, "HOME": "/mnt/home", "LANG": "C.UTF-8", **described.environment}
        if ours:
            environment |= {"USER": "hessian", "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
            environment["HESSIAN_DYNAMICS_COMMIT"] = COMMIT
        container = Container(
            service=described,
            name=name or service,
            number=self._numbers,
            folder=ROOT if ours else Path("/"),
            log=self.scratch / f"{name or service}.log",
            environment=environment,
            command=[str(ROOT / "docker/entrypoint.sh"), *(command or described.command)] if ours else [],
            owner=described.user,
            code=(Path(sys.base_prefix), Path(sys.prefix), ROOT),
            mounts=[(self.docker / "secrets" / secret, f"/run/secrets/{secret}") for secret in described.secrets],
        )
        for target, volume in described.volumes.items():
            self.volume(volume).mkdir(parents=True, exist_ok=True)
            os.chown(self.volume(volume), *map(int, container.owner.split(":")))
            container.mounts.append((self.volume(volume), target))
        if not ours:
            self._stand_in(container, described)
        container.attach([self.networks[network] for network in described.networks])
        self.containers[container.name] = container
        self._write_hosts()
        return container

    def up(self, service: str) -> list[Container]:
        """Starts all replicas of a service after its dependencies are in the required state."""
        described = self.services[service]
        for needed, condition in described.depends_on.items():
            for container in self.of(needed):
                if condition == "service_healthy":
                    self.wait_healthy(container)
                else:
                    assert container.wait(120) == 0, container.output
        names = [service] if described.replicas == 1 else [f"{service}-{n + 1}" for n in range(described.replicas)]
        started = [self.containers.get(name) or self.make(service, name) for name in names]
        for container in started:
            container.start()
        return started

    def of(self, service: str) -> list[Container]:
        return [container for container in self.containers.values() if container.service.name == service]

    def check(self, container: Container) -> subprocess.CompletedProcess[str]:
        """Runs the health check of a container inside it."""
        check = container.service.health
        assert check
        test = check.test
        if container.service.name == "s3":  # moto's health page differs from SeaweedFS's
            test = ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8333/moto-api/')"]
        return container.inside(test, check.timeout)

    def wait_healthy(self, container: Container) -> None:
        assert container.service.health
        deadline = time.monotonic() + container.service.health.patience
        while (done := self.check(container)).returncode:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{container.name} is not healthy: {done}\n{container.output[-3000:]}")
            time.sleep(1)

    def cut(self, container: Container, away: float) -> None:
        """Disconnects a container from its networks for `away` seconds."""
        links = [container.link(self.networks[name]) for name in container.addresses]
        for link in links:
            run("ip", "link", "set", link, "down")
        time.sleep(away)
        for link in links:
            run("ip", "link", "set", link, "up")

    def _stand_in(self, container: Container, service: Service) -> None:
        """Sets the command that replaces a third-party image: Debian's PostgreSQL, or moto as S3."""
        if service.name == "postgres":
            given = "\n".join(f"{key}={shlex.quote(value)}" for key, value in container.environment.items())
            container.before = f"{given}\n{_INIT_POSTGRES}"
            options = ["-c", "listen_addresses=*", "-c", "unix_socket_directories=/tmp/ray"]
            container.command = ["postgres", *options]
        elif service.name == "s3":
            container.command = [sys.executable, "-c", SERVER, "0.0.0.0", "8333"]
        else:
            raise ValueError(f"{service.name}: nothing stands in for image {service.image}")

    def _make_networks(self) -> None:
        for name in dict.fromkeys(network for service in self.services.values() for network in service.networks):
            if name not in self.networks:
                self.networks[name] = Network(name, len(self.networks))
                self.networks[name].make()

    def _write_hosts(self) -> None:
        for reader in self.containers.values():
            lines = ["127.0.0.1 localhost"]
            for other in self.containers.values():
                shared = [other.addresses[n] for n in reader.addresses if n in other.addresses]
                if shared:
                    lines.append(f"{shared[0]} {other.name}")
            # Written in place, since running containers have the file mounted.
            reader.hosts.write_text("\n".join(lines) + "\n")


def _remove_leftovers() -> None:
    for line in run("ip", "netns", "list").splitlines():
        if line.startswith("hd-"):
            run("ip", "netns", "del", line.split()[0])
    for line in run("ip", "-o", "link", "show", "type", "bridge").splitlines():
        name = line.split(":")[1].strip()
        if name.startswith("hdb"):
            subprocess.run(["ip", "link", "del", name], check=False)
