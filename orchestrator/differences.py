"""Compares two runs of one trial: which numbers differ, by how much, and what may explain it."""

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.table import Table

from orchestrator.store.attempt import Attempt
from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.provenance import attachments
from orchestrator.store.provenance.attachments import PACKAGES
from orchestrator.store.trial import TrialStore
from orchestrator.study.record import Record


@dataclass(frozen=True)
class KeyDifference:
    """How one quantity differs between two runs. For a vector, the largest difference over its entries."""

    key: str
    first_record: int
    first_ulps: int | None
    """The largest difference in `first_record`, in units in the last place (ulp).

    None if one of the two runs has no finite number there.
    """
    absolute: float
    """The largest absolute difference over all records, in the quantity's unit; NaN if no differing pair is finite."""
    relative: float
    """The largest difference over all records, relative to a nonzero stored value; NaN if there is none."""


@dataclass(frozen=True)
class Comparison:
    """The result of comparing a rerun with the stored trial."""

    records: tuple[int, ...]
    """Numbers of the compared records."""
    numbers: int
    """Number of values compared."""
    keys: tuple[KeyDifference, ...]
    differing_records: int
    reasons: tuple[str, ...]
    """Differences between the conditions of the two runs, such as threads or device, likeliest cause first."""
    unit: str = "epoch"
    """The noun for a record in messages."""

    @property
    def same(self) -> bool:
        """Whether all numbers are identical, bit for bit."""
        return not self.keys

    def shown(self) -> Group:
        """Formats the comparison for a terminal of 80 columns."""
        first, last = self.records[0], self.records[-1]
        if self.same:
            return Group(f"identical: all {self.numbers} numbers of {self.unit}s {first} to {last}, bit for bit")
        begin = min(each.first_record for each in self.keys)
        count = f"{self.differing_records} of {len(self.records)} {self.unit}s differ"
        parts: list[Any] = [f"{count}, the first is {self.unit} {begin}:"]
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("quantity", overflow="fold")
        for title in (f"first {self.unit}", "there, ulp", "largest abs.", "largest rel."):
            table.add_column(title, justify="right")
        for each in sorted(self.keys, key=lambda each: each.first_record):
            ulps = "-" if each.first_ulps is None else f"{each.first_ulps:,}" if each.first_ulps < 1e9 else "> 1e9"
            table.add_row(each.key, str(each.first_record), ulps, f"{each.absolute:.2g}", f"{each.relative:.2g}")
        parts.append(table)
        if self.reasons:
            parts.append("differences between the conditions of the runs, the likeliest cause first:")
            parts += [f"  {number}. {reason}" for number, reason in enumerate(self.reasons, 1)]
        else:
            parts.append(
                "data, code, threads, device and packages are the same as in the stored run, so the cause is "
                "unknown. Run it again; if it still differs, please report it."
            )
        return Group(*parts)


def compare(
    again: TrialStore, original: TrialStore, files: tuple[FileSystem, FileSystem], unit: str = "epoch"
) -> Comparison:
    """Compares all stored records of a trial with a rerun.

    Args:
        again: the rerun.
        original: the stored trial.
        files: the files of the two storages, in this order.
        unit: the noun for a record in messages.
    """
    pairs = {number: (again.read(number), original.read(number)) for number in original.numbers()}
    records = {number: (ours.record, theirs.record) for number, (ours, theirs) in pairs.items()}
    differing = {number: found for number, (a, b) in records.items() if (found := a.differences(b))}
    keys = dict.fromkeys(key for found in differing.values() for key in found)
    last_here, last_there = pairs[max(pairs)]
    conditions = (
        _conditions(again.attempts()[-1], last_here.data_digest),
        _conditions(_attempt_of(original, min(differing, default=max(pairs))), last_there.data_digest),
    )
    return Comparison(
        tuple(pairs),
        sum(_count(theirs) for _, theirs in records.values()),
        tuple(_key_difference(key, differing) for key in keys),
        len(differing),
        tuple(_reasons(*conditions, files)) if differing else (),
        unit,
    )


def ulps(ours: float, theirs: float) -> int | None:
    """Returns the number of doubles between two numbers; None if one of them is not finite."""
    if not (math.isfinite(ours) and math.isfinite(theirs)):
        return None
    return abs(_ordered(ours) - _ordered(theirs))


def _ordered(value: float) -> int:
    """Returns an integer that increases by 1 from each double to the next. Both zeros give 0."""
    bits: int = struct.unpack("<q", struct.pack("<d", value))[0]
    return bits if bits >= 0 else -(2**63) - bits


def _count(record: Record) -> int:
    return sum(len(value) if isinstance(value, tuple | Mapping) else 1 for value in record.reproducible().values())


def _key_difference(key: str, differing: Mapping[int, Mapping[str, tuple[Any, Any]]]) -> KeyDifference:
    there = {number: list(_numbers(*found[key])) for number, found in differing.items() if key in found}
    first = min(there)
    every = [pair for pairs in there.values() for pair in pairs]
    far = [ulps(*pair) for pair in there[first]]
    return KeyDifference(
        key,
        first,
        None if not far or None in far else max(found for found in far if found is not None),
        max((abs(ours - theirs) for ours, theirs in every if math.isfinite(ours - theirs)), default=math.nan),
        max(
            (abs(ours - theirs) / abs(theirs) for ours, theirs in every if theirs and math.isfinite(ours - theirs)),
            default=math.nan,
        ),
    )


def _numbers(ours: Any, theirs: Any) -> Iterator[tuple[float, float]]:
    """Yields pairs of corresponding numbers of a quantity; a missing number is NaN."""
    if isinstance(ours, Mapping) or isinstance(theirs, Mapping):
        ours, theirs = ours or {}, theirs or {}
        names = dict.fromkeys([*ours, *theirs])
        yield from ((ours.get(name, math.nan), theirs.get(name, math.nan)) for name in names)
    elif isinstance(ours, tuple) or isinstance(theirs, tuple):
        ours, theirs = ours or (), theirs or ()
        for index in range(max(len(ours), len(theirs))):
            yield tuple(each[index] if index < len(each) else math.nan for each in (ours, theirs))  # type: ignore[misc]
    else:
        yield (math.nan if ours is None else float(ours), math.nan if theirs is None else float(theirs))


def _attempt_of(trial: TrialStore, number: int) -> Attempt:
    """Returns the attempt that computed a record; the last attempt if that one is not stored."""
    attempts = {attempt.name: attempt for attempt in trial.attempts()}
    return attempts.get(trial.read(number).attempt) or list(attempts.values())[-1]


def _conditions(attempt: Attempt, data_digest: str) -> dict[str, Any]:
    """Returns the conditions that may explain a difference, the likeliest first. Unrecorded ones are None."""
    made = attempt.provenance
    rest = {key: value for key, value in attempt.environment.items() if key not in ("threads", "device", "torch")}
    return {
        "data": data_digest,
        **{f"your code {module}": digest for module, digest in sorted(made.own_code.items())},
        "commit": made.commit,
        "uncommitted changes": made.diff_digest or ("none" if made.packages_digest else None),
        "version": made.version,
        "threads": attempt.environment.get("threads"),
        "device": attempt.environment.get("device"),
        "processor": made.processor,
        **{key.replace("_", " "): value or None for key, value in rest.items()},
        "torch": attempt.environment.get("torch"),
        "python": made.python,
        "packages": made.packages_digest or None,
        "platform": made.platform or None,
    }


def _reasons(ours: dict[str, Any], theirs: dict[str, Any], files: tuple[FileSystem, FileSystem]) -> Iterator[str]:
    for key in dict.fromkeys([*ours, *theirs]):
        here, there = ours.get(key), theirs.get(key)
        if here == there:
            continue
        if there is None and key != "commit" and not key.startswith("your code"):
            yield f"{key}: here {_short(here)}, not recorded when it was stored"
        elif key == "packages" and here and there:
            yield f"packages: {_packages(here, there, files)}"
        else:
            yield f"{key}: here {_short(here)}, stored {_short(there)}"


def _packages(here: str, there: str, files: tuple[FileSystem, FileSystem]) -> str:
    ours, theirs = (attachments.read(each, PACKAGES, digest) for each, digest in zip(files, (here, there), strict=True))
    if ours is None or theirs is None:
        return f"here {_short(here)}, stored {_short(there)}"
    mine, other = (dict(line.split("==", 1) for line in text.splitlines() if "==" in line) for text in (ours, theirs))
    names = [name for name in sorted({*mine, *other}) if mine.get(name) != other.get(name)]
    shown = ", ".join(f"{name} {other.get(name, 'none')} -> {mine.get(name, 'none')}" for name in names[:6])
    return f"{shown}{f' and {len(names) - 6} more' if len(names) > 6 else ''} (stored -> here)"


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    digest = text.removesuffix("-dirty")
    bare = len(digest) in (40, 64) and all(letter in "0123456789abcdef" for letter in digest)
    return f"{digest[:12]}{'-dirty' if text.endswith('-dirty') else ''}" if bare else text
