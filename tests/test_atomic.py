"""Invariant: what is written replaces what a path leads to, and takes its permissions."""

from __future__ import annotations

from pathlib import Path

import pytest

from facelet.atomic import check_folder, write_text_atomic
from facelet.errors import InputError


def test_a_link_leads_to_the_file_that_is_written(tmp_path: Path) -> None:
    file, link = tmp_path / "there" / "file", tmp_path / "link"
    link.symlink_to(file)
    for content in ("new", "newer"):
        write_text_atomic(link, content)
        assert (link.is_symlink(), file.read_text()) == (True, content)
    assert [path.name for path in file.parent.iterdir()] == ["file"]


def test_permissions_stay(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    file.chmod(0o640)
    write_text_atomic(file, "new")
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new", 0o640)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    check_folder(tmp_path)
    check_folder(tmp_path / "new" / "folder")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: is a file; give a folder"):
        check_folder(tmp_path / "file")
