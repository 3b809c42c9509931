"""The competition's files: who downloads them, and whether they are all there."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from cloudseg import fetch as command
from cloudseg.core.errors import CloudsegError, DataError, UsageError
from cloudseg.fetching import kaggle

FEW = {"train_images": 55, "test_images": 36}
"""Images of the archive here, in place of the 9,244 of the competition."""


def write_archive(
    path: Path, rows: int = 22_184, train: int = FEW["train_images"], test: int = FEW["test_images"]
) -> None:
    """An archive with the competition's names, and images of a few bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("train.csv", "Image_Label,EncodedPixels\n" + "0011165.jpg_Fish,1 1\n" * rows)
        file.writestr("sample_submission.csv", "Image_Label,EncodedPixels\n")
        file.writestr("../outside.jpg", "not extracted")
        for folder, number in (("train_images", train), ("test_images", test)):
            for index in range(number):
                file.writestr(f"{folder}/{index:07x}.jpg", b"jpeg")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete archive. Not to be changed."""
    path = tmp_path_factory.mktemp("kaggle") / kaggle.ARCHIVE
    write_archive(path)
    return path


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kaggle, "IMAGES", FEW)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment in which `kaggle` copies tmp_path/served.zip, and notes how it is called."""
    tools = tmp_path / "bin"
    tools.mkdir()
    script = tools / "kaggle"
    script.write_text(
        f'#!/bin/sh\necho "$*" >>{tmp_path}/calls\n'
        f'[ -f {tmp_path}/served.zip ] || {{ echo "403 - Forbidden" >&2; exit 1; }}\n'
        f'cp {tmp_path}/served.zip "$6/{kaggle.ARCHIVE}"\n'
    )
    script.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    return {"PATH": f"{tools}:/usr/bin:/bin", "HOME": str(home), "KAGGLE_USERNAME": "me", "KAGGLE_KEY": "k"}


@pytest.mark.usefixtures("few")
def test_the_client_downloads_and_all_files_are_counted(tmp_path, environ, archive):
    (tmp_path / "served.zip").symlink_to(archive)
    out = tmp_path / "data"
    said = kaggle.fetch(out, environ)
    assert said == f"{out}: complete, 22,184 rows in train.csv, images: 55 in train_images and 36 in test_images"
    assert (tmp_path / "calls").read_text() == (
        f"competitions download -c understanding_cloud_organization -p {out}/.kaggle-download\n"
    )
    assert {path.name for path in out.iterdir()} == {
        "train.csv", "sample_submission.csv", "train_images", "test_images", kaggle.ARCHIVE
    }  # fmt: skip
    assert not (tmp_path / "outside.jpg").exists()

    (out / "train_images" / "0000003.jpg").unlink()
    (out / "test_images" / "0000004.jpg").unlink()
    kaggle.fetch(out, {})  # unpacks what is missing, without the client
    assert len(list((out / "train_images").iterdir())) == FEW["train_images"]


@pytest.mark.usefixtures("few")
def test_files_that_are_there_need_no_client_and_no_archive(tmp_path, capsys, archive):
    with zipfile.ZipFile(archive) as file:
        members = [name for name in file.namelist() if not name.startswith("..")]
        file.extractall(tmp_path / "data", members)
    command.main(["kaggle", "--out", str(tmp_path / "data")])
    assert "complete, 22,184 rows" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        (("KAGGLE_KEY",), "its token is not found"),
        (("PATH",), "the command `kaggle` is not found"),
    ],
)
def test_without_client_or_token_two_lines_are_to_be_typed(tmp_path, environ, lacking, said):
    for name in lacking:
        environ[name] = ""
    out = tmp_path / "my data"
    with pytest.raises(UsageError) as error:
        kaggle.fetch(out, environ)
    assert said in str(error.value)
    assert str(error.value).splitlines()[1:] == [
        f"  kaggle competitions download -c understanding_cloud_organization -p '{out}'",
        f"  python -m cloudseg.fetch kaggle --out '{out}'",
    ]


@pytest.mark.parametrize("place", [".kaggle/kaggle.json", ".kaggle/access_token", ".config/kaggle/kaggle.json"])
def test_a_token_is_found_where_the_client_looks_for_it(tmp_path, place):
    environ = {"HOME": str(tmp_path)}
    assert not kaggle.has_token(environ)
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_text("{}")
    assert kaggle.has_token(environ)


def test_a_token_in_the_environment_or_a_folder_of_its_own_is_found(tmp_path):
    assert kaggle.has_token({"HOME": "/nowhere", "KAGGLE_API_TOKEN": "t"})
    (tmp_path / "kaggle.json").write_text("{}")
    assert kaggle.has_token({"HOME": "/nowhere", "KAGGLE_CONFIG_DIR": str(tmp_path)})
    assert not kaggle.has_token({"HOME": "/nowhere", "KAGGLE_USERNAME": "me"})


def test_a_client_that_fails_is_an_error_with_what_to_do(tmp_path, environ):
    with pytest.raises(CloudsegError, match="exit code 1 .*Accept the rules at https://www.kaggle.com/c/.*then type"):
        kaggle.fetch(tmp_path / "data", environ)


def test_half_an_archive_is_not_taken_for_a_whole_one(tmp_path, environ):
    write_archive(tmp_path / "whole.zip", train=5)
    whole = (tmp_path / "whole.zip").read_bytes()
    (tmp_path / "served.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CloudsegError, match="without understanding_cloud_organization.zip"):
        kaggle.fetch(tmp_path / "data", environ)
    assert not (tmp_path / "data" / kaggle.ARCHIVE).exists()


def test_missing_rows_and_images_are_counted(tmp_path):
    out = tmp_path / "data"
    write_archive(out / kaggle.ARCHIVE, rows=22_183, train=7, test=8)
    with pytest.raises(DataError) as error:
        kaggle.fetch(out, {})
    assert str(error.value).startswith(
        f"{out}: train.csv has 22,183 rows in place of 22,184; train_images has 7 images in place of 5,546; "
        f"test_images has 8 images in place of 3,698. Remove {out}/understanding_cloud_organization.zip, then type: "
    )


def test_a_damaged_archive_leaves_no_half_file(tmp_path):
    out = tmp_path / "data"
    write_archive(out / kaggle.ARCHIVE, train=3, test=3)
    content = bytearray((out / kaggle.ARCHIVE).read_bytes())
    at = content.index(b"train_images/0000001.jpg") + len(b"train_images/0000001.jpg")
    content[at] ^= 0xFF
    (out / kaggle.ARCHIVE).write_bytes(content)
    with pytest.raises(DataError, match="is damaged: Bad CRC-32 .*Remove it, then type"):
        kaggle.fetch(out, {})
    assert [path.name for path in (out / "train_images").iterdir()] == ["0000000.jpg"]
