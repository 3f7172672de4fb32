"""The check whether a process is alive, which returns None if this host cannot know."""

import os
from dataclasses import replace

from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.ownership.process import Process

ELSEWHERE = replace(Process.this(), host="node7.elsewhere")


DEAD = replace(Process.this(), started="1")


def test_whether_a_process_is_alive(files: DiskFiles) -> None:
    assert Process.this().alive is True
    assert DEAD.alive is False
    assert ELSEWHERE.alive is None
    assert replace(Process.this(), kernel="another container").alive is None
    assert Process.this().pid == os.getpid()
