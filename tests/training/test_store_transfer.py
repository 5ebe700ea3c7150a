"""Archives of trainings that arrive damaged: refused whole, or taken over up to the damage."""

import bz2
import gzip
import io
import json
import lzma
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from agent import cli
from agent.config.run_config import digest
from agent.training import store
from agent.training.lease import Observer
from agent.training.store import TrainingDirectory, point_name
from agent.training.store_transfer import pack, unpack

IDENTITY = {"learning_rate": 0.002, "training_precision": "16bit", "seed": 7}
POINTS = 3


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """One training of three evaluation points, exported."""
    training = TrainingDirectory(tmp_path / "here", digest(IDENTITY))
    training.describe(IDENTITY)
    lease = Observer(training.path).try_acquire()
    assert lease is not None

    def fill(staging: Path) -> dict[str, object]:
        (staging / "adapter").mkdir()
        (staging / "adapter" / "weights").write_bytes(random.Random(1).randbytes(3000))
        return {"step": 4}

    def score(staging: Path) -> None:
        (staging / "s.json").write_text("[1]")

    parent = training.root_digest()
    for number in range(1, POINTS + 1):
        parent = training.publish(point_name(number), lease, parent, fill).digest
        store.publish_directory(training.path / point_name(number) / "scores" / "key", score)
    lease.release()
    pack([training], tmp_path / "out.tar")
    return tmp_path / "out.tar"


def import_into(file: Path, root: Path) -> int:
    """The exit status; a traceback fails the test."""
    return cli.main(["store", "import", str(file), "--store", str(root)])


def chain_of(root: Path) -> int:
    """How many points can be read."""
    assert not list(root.glob(".import-*"))
    return len(TrainingDirectory(root, digest(IDENTITY)).chain())


def test_an_archive_that_is_cut_off_anywhere_imports_nothing(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, end = archive.read_bytes(), _end_of(archive)
    cuts = [*range(0, end, 512), *random.Random(2).sample(range(1, end), 20)]
    for number, cut in enumerate(cuts):
        damaged, other = tmp_path / "cut.tar", tmp_path / f"other{number}"
        damaged.write_bytes(whole[:cut])
        assert import_into(damaged, other) == 2
        assert "cannot be read as exported trainings" in capsys.readouterr().err
        assert chain_of(other) == 0
    assert import_into(archive, tmp_path / "other") == 0
    assert chain_of(tmp_path / "other") == POINTS


def _end_of(archive: Path) -> int:
    with tarfile.open(archive) as opened:
        opened.getmembers()
        return opened.offset


def test_a_changed_byte_is_noticed_wherever_it_is(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file's times in its header are all that may change without a word."""
    whole, chance = archive.read_bytes(), random.Random(3)
    quiet = 0
    for number in range(150):
        content = bytearray(whole)
        content[chance.randrange(_end_of(archive))] ^= 1 << chance.randrange(8)
        damaged, other = tmp_path / "flipped.tar", tmp_path / f"other{number}"
        damaged.write_bytes(content)
        status = import_into(damaged, other)
        said = capsys.readouterr()
        assert status in (0, 2)
        if status == 2:
            assert str(damaged) in said.err
        else:
            quiet += 1
            assert chain_of(other) == POINTS
    assert quiet < 75  # padding between members


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_archive_is_read_and_its_damage_is_one_line(
    compress: Callable[[bytes], bytes], archive: Path, tmp_path: Path
) -> None:
    packed, chance = compress(archive.read_bytes()), random.Random(4)
    (tmp_path / "packed").write_bytes(packed)
    assert import_into(tmp_path / "packed", tmp_path / "whole") == 0
    assert chain_of(tmp_path / "whole") == POINTS
    for number in range(25):
        content = bytearray(packed[: chance.randrange(10, len(packed))])
        content[chance.randrange(len(content))] ^= 255
        (tmp_path / "packed").write_bytes(content)
        assert import_into(tmp_path / "packed", tmp_path / f"other{number}") == 2
        assert chain_of(tmp_path / f"other{number}") == 0


def made_of(path: Path, members: dict[str, bytes | tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def link(name: str, kind: bytes, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


KEY = digest(IDENTITY)
SOUND = json.dumps(IDENTITY).encode()
STRANGE: dict[str, tuple[dict[str, bytes | tarfile.TarInfo], str]] = {
    "empty": ({}, "holds no trainings"),
    "other files": ({"photo.jpg": b"x", "notes/readme": b"y"}, "holds no trainings"),
    "not JSON": ({f"{KEY}/identity.json": b"{"}, "identity.json is damaged"),
    "not text": ({f"{KEY}/identity.json": b"\xff\xfe"}, "identity.json is damaged"),
    "no object": ({f"{KEY}/identity.json": b"[1]"}, "identity.json is damaged"),
    "deep": ({f"{KEY}/identity.json": b"[" * 100_000}, "identity.json is damaged"),
    "under another key": ({"pruning/identity.json": SOUND}, "belongs to another"),
    "outside": ({"../../identity.json": SOUND}, "cannot be read"),
    "link": (
        {f"{KEY}/identity.json": SOUND, "l": link(f"{KEY}/eval-0001", tarfile.SYMTYPE, "../x")},
        "neither a file nor a directory",
    ),
    "device": ({"d": link(f"{KEY}/null", tarfile.CHRTYPE, "")}, "neither a file nor a directory"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_an_archive_of_something_else_is_refused_by_name(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    members, words = STRANGE[name]
    file = made_of(tmp_path / "strange.tar", members)
    assert import_into(file, tmp_path / "other") == 2
    assert words in capsys.readouterr().err
    assert list((tmp_path / "other").iterdir()) == []


def test_a_missing_archive_and_a_directory_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in (tmp_path / "none.tar", tmp_path):
        assert import_into(place, tmp_path / "other") == 2
        assert f"{place}: no such file" in capsys.readouterr().err


def test_what_is_damaged_inside_a_whole_archive_is_named_and_the_rest_taken(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "here" / KEY
    (place / "eval-0002" / "adapter" / "weights").write_bytes(b"x")
    (place / "eval-0001" / "scores" / "key" / "s.json").write_text("[2]")
    pack([TrainingDirectory(tmp_path / "here", KEY)], archive)
    assert import_into(archive, tmp_path / "other") == 2
    said = capsys.readouterr()
    assert f"{KEY}/eval-0002, {KEY}/eval-0001/scores/key" in said.err
    assert "1 evaluation points taken over" in said.out
    assert chain_of(tmp_path / "other") == 1
    assert not (tmp_path / "other" / KEY / "eval-0001" / "scores" / "key").exists()


def test_a_full_store_is_not_blamed_on_the_archive(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "extract", full)
    with pytest.raises(OSError, match="No space left"):
        unpack(archive, tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []
