"""Containers without a container engine: commands in separate namespaces on separate networks.

Each service has separate network, process, mount and host name namespaces and its configured user. It gets only the
secrets and volumes that it lists, and follows its restart policy. Unlike in a container, it sees the machine's files.
"""

import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.compose import Service

_SETUP = r"""
set -e
hostname "$NAME"
mount -t tmpfs tmpfs /run && mkdir /run/secrets && chmod 755 /run /run/secrets
mount -t tmpfs tmpfs /mnt && mkdir -p /mnt/home && chown "$OWNER" /mnt/home
mount -t tmpfs -o size=1g,mode=1777 tmpfs /dev/shm
mkdir -p /tmp/ray && mount --bind "$OWN/ray" /tmp/ray
cp -a /etc /run/etc
printf '%s:x:%s:0::/mnt/home:/bin/sh\n' root 0 hessian "${OWNER%%:*}" > /run/etc/passwd
mount --bind /run/etc /etc
mount --bind "$HOSTS" /etc/hosts
# Other users cannot read root's home, so only the folders that the commands need are mounted.
number=0
for folder in $CODE; do
    number=$((number + 1)); mkdir -p "/run/code/$number"; mount --bind "$folder" "/run/code/$number"
done
[ -z "$CODE" ] || mount -t tmpfs -o mode=755 tmpfs /root
number=0
for folder in $CODE; do
    number=$((number + 1)); mkdir -p "$folder"; mount --bind "/run/code/$number" "$folder"
done
eval "$MOUNTS"
cd "$FOLDER"
eval "$BEFORE"
setpriv --reuid "${OWNER%%:*}" --regid "${OWNER##*:}" --clear-groups env -i "$@" &
wait $!
"""


def run(*command: str) -> str:
    """Runs a command on the host and returns its output."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


@dataclass
class Network:
    """A network bridge whose members can only reach each other."""

    name: str
    number: int
    members: int = 0

    @property
    def bridge(self) -> str:
        return f"hdb{self.number}"

    def make(self) -> None:
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "link", "set", self.bridge, "up")

    def next_address(self) -> str:
        self.members += 1
        return f"10.213.{self.number}.{self.members + 1}"


@dataclass
class Container:
    """One instance of a service."""

    service: Service
    name: str
    number: int
    folder: Path
    log: Path
    environment: dict[str, str]
    command: list[str]
    owner: str
    mounts: list[tuple[Path, str]]
    code: tuple[Path, ...] = ()
    """The folder with the commands."""
    before: str = ""
    """A script that root runs first, inside the namespaces."""
    addresses: dict[str, str] = field(default_factory=dict)
    starts: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _wish: object = None
    """A new event for every requested start; None while the container must stay stopped."""

    @property
    def hosts(self) -> Path:
        """The container's /etc/hosts, with the names of all containers on its networks."""
        return self.log.with_suffix(".hosts")

    @property
    def namespace(self) -> str:
        return f"hd-{self.name}"

    def attach(self, networks: Sequence[Network]) -> None:
        """Creates the container's network namespace, with an address on each of these networks."""
        run("ip", "netns", "add", self.namespace)
        run("ip", "-n", self.namespace, "link", "set", "lo", "up")
        for network in networks:
            self.join(network)

    def join(self, network: Network) -> None:
        """Adds an interface with an address on a network."""
        link, address = self.link(network), network.next_address()
        run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth", "netns", self.namespace)
        run("ip", "-n", self.namespace, "link", "set", "eth", "name", f"eth{network.number}")
        run("ip", "-n", self.namespace, "addr", "add", f"{address}/24", "dev", f"eth{network.number}")
        run("ip", "-n", self.namespace, "link", "set", f"eth{network.number}", "up")
        run("ip", "link", "set", link, "master", network.bridge, "up")
        self.addresses[network.name] = address

    def link(self, network: Network) -> str:
        return f"hdv{self.number}n{network.number}"

    def start(self) -> None:
        self._wish = wish = object()
        self._launch()
        if self.service.restart != "no":
            threading.Thread(target=self._watch, args=(wish,), daemon=True).start()

    def wait(self, timeout: float) -> int:
        assert self._process
        return self._process.wait(timeout)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> int:
        """Like `docker stop`: the stop signal, then the grace period. Returns the exit code; -9 if it was killed."""
        self._wish = None
        assert self._process
        if (main := self._main()) is not None:
            os.kill(main, getattr(signal, self.service.stop_signal))
        try:
            return self._process.wait(self.service.grace)
        except subprocess.TimeoutExpired:
            self.crash()
            return -9

    def crash(self) -> None:
        """Kills all processes of the container."""
        if (init := self._init()) is not None:
            os.kill(init, signal.SIGKILL)
        if self._process:
            self._process.wait(30)

    def end(self) -> None:
        """Kills the container if it is running, and removes it."""
        self._wish = None
        self.crash()

    def inside(self, command: Sequence[str], timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Like `docker exec`, with the environment of compose.yaml."""
        init = self._init()
        if init is None:
            return subprocess.CompletedProcess(list(command), 137, "", "not running")
        user, group = self.owner.split(":")
        pairs = [f"{key}={value}" for key, value in self.environment.items()]
        enter = ["nsenter", "-t", str(init), "--mount", "--uts", "--net", "--pid", f"--wd={self.folder}"]
        switch = ["setpriv", "--reuid", user, "--regid", group, "--clear-groups", "env", "-i", *pairs]
        try:
            return subprocess.run([*enter, *switch, *command], capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(list(command), 124, "", "timed out")

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _launch(self) -> None:
        own = self.log.parent / f"{self.name}-{self.starts}"
        (own / "ray").mkdir(parents=True)
        (own / "ray").chmod(0o777)
        mounts = [
            f"mkdir -p {shlex.quote(str(Path(target).parent))}; "
            + (f"mkdir -p {shlex.quote(target)}" if source.is_dir() else f"touch {shlex.quote(target)}")
            + f"; mount --bind {shlex.quote(str(source))} {shlex.quote(target)}"
            for source, target in self.mounts
        ]
        settings = {
            **os.environ,
            "NAME": self.name,
            "OWNER": self.owner,
            "OWN": str(own),
            "HOSTS": str(self.hosts),
            "MOUNTS": "\n".join(mounts),
            "FOLDER": str(self.folder),
            "BEFORE": self.before,
            "CODE": " ".join(str(folder) for folder in self.code if folder.is_relative_to("/root")),
        }
        pairs = [f"{key}={value}" for key, value in self.environment.items()]
        unshare = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self.starts += 1
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, *unshare, "bash", "-c", _SETUP, "bash", *pairs, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=settings,
                start_new_session=True,
            )

    def _watch(self, wish: object) -> None:
        delay = 0.2
        while self._wish is wish:
            process = self._process
            assert process
            code = process.wait()
            if self._wish is not wish or (self.service.restart.startswith("on-failure") and code == 0):
                return
            time.sleep(delay)
            delay = min(2 * delay, 10.0)
            if self._wish is wish:
                self._launch()

    def _init(self) -> int | None:
        return _first_child(self._process.pid) if self._process and self._process.poll() is None else None

    def _main(self) -> int | None:
        init = self._init()
        return _first_child(init) if init else None


def _first_child(pid: int) -> int | None:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None
