"""Files named by a number, such as 00003.json. They store records, claims, leases and remeasurements."""

import re
from pathlib import Path

from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.backends.location import S3Location


class NumberedFiles:
    """The files ``<folder>/<number>.json``; files with other names are ignored.

    Args:
        files: the storage.
        folder: the folder of the files.
        digits: the minimum number of digits in a name; smaller numbers are padded with zeros.
    """

    def __init__(self, files: FileSystem, folder: str, digits: int) -> None:
        self._files = files
        self._folder = folder
        self._digits = digits
        self._name = re.compile(rf"([0-9]{{{digits},}})\.json")

    def numbers(self) -> list[int]:
        """The numbers of the files, in order."""
        matches = map(self._name.fullmatch, self._files.list(self._folder))
        return sorted(int(match[1]) for match in matches if match)

    def newest(self) -> int:
        """The highest number; 0 if there is no file."""
        return max(self.numbers(), default=0)

    def name(self, number: int) -> str:
        """The path of a file, relative to the storage."""
        return f"{self._folder}/{number:0{self._digits}d}.json"

    def path(self, number: int) -> Path | S3Location:
        """The full path of a file, for messages."""
        return self._files.root / self.name(number)

    def read(self, number: int) -> bytes | None:
        """The content of a file; None if the file does not exist."""
        return self._files.read(self.name(number))

    def create(self, number: int, content: bytes) -> bool:
        """Creates a file. Returns False, and changes nothing, if it exists."""
        return self._files.create(self.name(number), content)

    def write(self, number: int, content: bytes) -> None:
        """Creates or replaces a file."""
        self._files.write(self.name(number), content)

    def delete(self, number: int) -> None:
        """Deletes a file; does nothing if it does not exist."""
        self._files.delete(self.name(number))
