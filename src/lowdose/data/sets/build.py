"""Build a data set: survey the files, decide, cut; whatever is done stays done."""

from __future__ import annotations

import csv
import functools
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowdose import __version__
from lowdose.data.sets.choices import SPLITS, Choices
from lowdose.data.sets.cut import ShardPlan, plan_shards, write_shard
from lowdose.data.sets.decide import Decisions, Verdict, decide
from lowdose.data.sets.journal import Journal
from lowdose.data.sets.survey import Surveyed, survey_file
from lowdose.data.sets.table import labels_of, read_table
from lowdose.data.shards import DESCRIPTION, LAYOUT, load_description
from lowdose.data.truths import find_truths
from lowdose.errors import ConfigError, OutputError
from lowdose.io.guard import whole_file

MANIFEST = "manifest.csv"
SURVEY, CUT = "survey.jsonl", "shards.jsonl"
_OURS = {DESCRIPTION, MANIFEST, SURVEY, CUT}

Progress = Callable[[str, float, float], None]


@dataclass(frozen=True)
class Built:
    """What a build came to.

    Parameters
    ----------
    facts : mapping
        What ``dataset.json`` says.
    verdicts : sequence of Verdict
        On every frame.
    notes : sequence of str
        What the user should know.
    fresh : int
        Shards that were written now, not by a build that was interrupted.
    """

    facts: Mapping[str, Any]
    verdicts: Sequence[Verdict]
    notes: Sequence[str]
    fresh: int


def build_dataset(
    inputs: Iterable[Path | str],
    out: Path,
    choices: Choices,
    *,
    progress: Progress = lambda label, done, total: None,
) -> Built:
    """Make a data set of all micrographs of some folders.

    A build that was stopped, however, goes on where it was: files that have not changed are not
    read again, finished shards are not written again.

    Parameters
    ----------
    inputs : iterable of Path or str
        Folders, searched with those inside them, or files.
    out : Path
        Folder for the data set; created if need be.
    choices : Choices
        Everything else that decides what it holds.
    progress : callable
        Told what is being done, how much of it is, and of how much.

    Raises
    ------
    ConfigError
        If there is no micrograph, none is good enough, or `out` holds another data set.
    OutputError
        If `out` cannot be written to.
    """
    table = None
    if choices.table:
        columns = {"column": choices.column, "split_column": choices.split_column}
        table = read_table(Path(choices.table), **columns)
    base, names = _named(inputs)
    _prepare(out, choices)
    files = _survey(base, names, Journal(out / SURVEY), choices, progress)
    decisions = decide(files, choices, None if table is None else labels_of(names, table))
    # Laid out twice rather than kept: a plan of every crop is larger than all the rest.
    digests = [each.digest(choices) for each in plan_shards(decisions.verdicts, choices)]
    plan = hashlib.sha256("".join(digests).encode()).hexdigest()
    if (out / DESCRIPTION).exists():
        facts = load_description(out).facts
        if facts.get("plan") != plan:
            raise ConfigError(
                f"{out}: is a finished data set, and its sources, table or choices have changed "
                "since. Choose another folder, or delete this one"
            )
        return Built(facts, decisions.verdicts, decisions.notes, 0)
    if not digests:
        _write_manifest(out / MANIFEST, decisions)
        raise ConfigError(_nothing_left(decisions.verdicts, out))
    plans = zip(plan_shards(decisions.verdicts, choices), digests, strict=True)
    total = sum(len(each.crops) for each in decisions.verdicts)
    shards, fresh = _cut(base, out, plans, choices, functools.partial(_of, progress, total))
    _write_manifest(out / MANIFEST, decisions)
    _remove_parts(out)
    facts = _description(choices, plan, shards, decisions)
    with whole_file(out / DESCRIPTION) as part:  # last: it says that all the rest is there
        part.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    return Built(facts, decisions.verdicts, decisions.notes, fresh)


def _named(inputs: Iterable[Path | str]) -> tuple[Path, list[str]]:
    """Folder that all inputs share, and the path of each file below it, sorted."""
    roots = [Path(each) for each in inputs]
    found = find_truths(roots)
    base = os.path.commonpath([os.path.abspath(r if r.is_dir() else r.parent) for r in roots])
    return Path(base), sorted(Path(os.path.relpath(path, base)).as_posix() for path in found)


def _prepare(out: Path, choices: Choices) -> None:
    """Create the folder, or see that it holds nothing but a data set of these choices."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        strangers = sorted(set(os.listdir(out)) - _OURS)
    except OSError as err:
        raise OutputError(f"{out}: cannot be used as a folder ({err.strerror}).") from err
    if (out / DESCRIPTION).exists():  # its journals may have been deleted
        was = {"dataset": LAYOUT, "choices": load_description(out).facts.get("choices")}
        _check_head(out, was, choices)
    elif strangers and not (out / SURVEY).exists():
        raise ConfigError(
            f"{out}: holds {strangers[0]}, which is of no data set. Name a folder that is new"
        )


def _nothing_left(verdicts: Sequence[Verdict], out: Path) -> str:
    """How many frames are rejected for what, and all that is said of the first one."""
    reasons = Counter(each.reason.split(":")[0] for each in verdicts).most_common(3)
    said = ", ".join(f"{reason} ({count})" for reason, count in reasons)
    first = verdicts[0]
    return (
        f"no frame is left to cut crops from; of {len(verdicts)}: {said}. The first, {first.name}: "
        f"{first.reason.rstrip('.')}. {out / MANIFEST} has the reason of each; other options need "
        "another folder, or this one deleted"
    )


def _survey(
    base: Path, names: Sequence[str], journal: Journal, choices: Choices, progress: Progress
) -> list[Surveyed]:
    """Survey each file that has not been, or that changed; in the order of the names."""
    known = _known(journal, choices)
    files = []
    for done, name in enumerate(names):
        found, status = known.get(name), (base / name).stat()
        if found is None or (found.size, found.mtime_ns) != (status.st_size, status.st_mtime_ns):
            progress(f"survey {done + 1}/{len(names)} {name}", done, len(names))
            found = survey_file(base / name, name, crop=choices.crop, shrink=choices.shrink)
            journal.add(found.as_json())
        files.append(found)
    return files


def _known(journal: Journal, choices: Choices) -> dict[str, Surveyed]:
    """What has been surveyed with the same choices; what could not be read is tried again."""
    rows = journal.rows()
    was = next(rows, None)
    if was is None:
        journal.add(_head(choices))
    else:
        _check_head(journal.path.parent, was, choices)
    surveyed = map(Surveyed.from_json, rows)
    return {each.name: each for each in surveyed if not each.error}


def _head(choices: Choices) -> dict[str, Any]:
    """First row of the survey."""
    return {"dataset": LAYOUT, "choices": choices.as_json()}


def _check_head(out: Path, was: Mapping[str, Any], choices: Choices) -> None:
    """Refuse a folder whose data set was begun with other choices."""
    if was == _head(choices):
        return
    before, now = was.get("choices") or {}, choices.as_json()
    words = [
        f"{name} was {before.get(name)!r}, is {value!r}"
        for name, value in now.items()
        if before.get(name) != value
    ]
    raise ConfigError(
        f"{out}: holds a data set of other choices "
        f"({'; '.join(words) or 'of another version of lowdose'}). "
        "Choose another folder, or delete this one"
    )


def _of(progress: Progress, total: int, label: str, done: int) -> None:
    progress(label, done, total)


def _cut(
    base: Path,
    out: Path,
    plans: Iterable[tuple[ShardPlan, str]],
    choices: Choices,
    progress: Callable[[str, int], None],
) -> tuple[dict[str, list[dict[str, Any]]], int]:
    """Write the shards that are not there yet; entries by split, and how many were written."""
    journal = Journal(out / CUT)
    done = {row["plan"]: row["shard"] for row in journal.rows()}
    shards: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    cut = fresh = 0
    for plan, digest in plans:
        if not _is_there(out / plan.name, done.get(digest)):
            show = functools.partial(_after, progress, f"cut {plan.name}", cut)
            show(0)
            done[digest] = write_shard(out / plan.name, plan, base, choices, progress=show)
            journal.add({"plan": digest, "shard": done[digest]})
            fresh += 1
        shards[plan.split].append(done[digest])
        cut += len(plan.crops)
    return shards, fresh


def _after(progress: Callable[[str, int], None], label: str, start: int, count: int) -> None:
    progress(label, start + count)


def _is_there(path: Path, shard: Mapping[str, Any] | None) -> bool:
    return shard is not None and path.exists() and path.stat().st_size == shard["bytes"]


def _remove_parts(out: Path) -> None:
    """Remove what killed builds left half-written."""
    for path in out.iterdir():
        if re.fullmatch(r"\..+\.[0-9a-f]{8}\.part", path.name):
            with suppress(OSError):
                path.unlink()


def _description(
    choices: Choices, plan: str, shards: Mapping[str, list[dict[str, Any]]], decisions: Decisions
) -> dict[str, Any]:
    kept = [each for each in decisions.verdicts if not each.reason]
    return {
        "layout": LAYOUT,
        "lowdose": __version__,
        "what": "crops of electron micrographs: KEY.npy and KEY.json in tar files",
        "crop": choices.crop,
        "choices": choices.as_json(),
        "plan": plan,
        "frames": {"kept": len(kept), "rejected": len(decisions.verdicts) - len(kept)},
        "splits": {
            split: {
                "crops": sum(shard["crops"] for shard in part),
                "bytes": sum(shard["bytes"] for shard in part),
                "groups": len({each.group for each in kept if each.split == split}),
                "shards": part,
            }
            for split, part in shards.items()
        },
    }


_COLUMNS = (
    "file", "frame", "sha256", "height", "width", "dtype", "group", "split", "verdict", "reason",
    "counts", "noise", "saturated", "crops", "remark",
)  # fmt: skip


def _write_manifest(path: Path, decisions: Decisions) -> None:
    """Write one row a frame, or a file that cannot be read."""
    with (
        whole_file(path) as part,
        # Bytes of a file name that are no UTF-8 are written as they are.
        open(part, "w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        writer.writerows(map(_row, decisions.verdicts))


def _row(verdict: Verdict) -> list[object]:
    file, frame = verdict.file, verdict.frame
    measured: list[object] = ["", "", ""]
    if frame:
        counts = "" if frame.counts is None else f"{frame.counts:.6g}"
        measured = [counts, f"{frame.noise:.4g}", f"{frame.saturated:.4g}"]
    shape = [frame.height, frame.width, frame.dtype] if frame else ["", "", ""]
    index = "" if verdict.index is None else verdict.index
    word = "rejected" if verdict.reason else "kept"
    start = [file.name, index, file.sha256, *shape, verdict.group, verdict.split, word]
    return [*start, verdict.reason, *measured, len(verdict.crops), file.remark]
