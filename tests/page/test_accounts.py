"""Accounts: hashed, changed and asked; what cannot be is rejected by name."""

import asyncio
import io
import stat

import pytest

from page.accounts import Accounts, main, read_accounts, write_account


@pytest.fixture
def accounts_file(tmp_path):
    path = tmp_path / "accounts.txt"
    write_account(path, "anna", "correct horse")
    write_account(path, "bob", "battery staple")
    return path


def admits(path, name, password):
    return asyncio.run(Accounts(path).admit(name, password))


def test_only_the_right_password_admits(accounts_file):
    assert admits(accounts_file, "anna", "correct horse")
    assert not admits(accounts_file, "anna", "battery staple")
    assert not admits(accounts_file, "anna", "")
    assert not admits(accounts_file, "carl", "correct horse")


def test_the_file_holds_no_password_and_is_its_owners_alone(accounts_file):
    content = accounts_file.read_text()
    assert "horse" not in content
    assert content.startswith("anna:scrypt:16384:8:1:")
    assert stat.S_IMODE(accounts_file.stat().st_mode) == 0o600
    hashed = read_accounts(accounts_file)
    write_account(accounts_file, "anna", "correct horse")
    assert read_accounts(accounts_file)["anna"].digest != hashed["anna"].digest  # another salt
    assert read_accounts(accounts_file)["bob"] == hashed["bob"]


def test_a_password_is_changed_by_adding_the_person_again(accounts_file):
    write_account(accounts_file, "anna", "another one")
    assert admits(accounts_file, "anna", "another one")
    assert not admits(accounts_file, "anna", "correct horse")


def test_the_command_reads_the_password_from_standard_input(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("from a pipe\n"))
    main([str(tmp_path / "new.txt"), "dora"])
    assert admits(tmp_path / "new.txt", "dora", "from a pipe")
    assert "dora may now use a page" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "password", "problem"),
    [
        ("a:b", "long enough", "'a:b' cannot be; it may have no colon"),
        ("", "long enough", "cannot be"),
        ("anna ", "long enough", "no blank at its ends"),
        ("anna", "short", "has 5 characters; give 8 to 1000"),
    ],
)
def test_names_and_passwords_that_cannot_be_are_rejected(tmp_path, name, password, problem):
    with pytest.raises(ValueError, match=problem):
        write_account(tmp_path / "accounts.txt", name, password)
    assert not (tmp_path / "accounts.txt").exists()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "holds nobody; add people by `python -m page.accounts"),
        ("anna:secret\n", "line 1 of --auth .* is no account"),
        ("anna:scrypt:16384:8:1:zz:00\n", "line 1 of"),
        ("anna:scrypt:99999999:8:1:00:00\n", "line 1 of"),
    ],
)
def test_a_file_that_is_none_of_accounts_is_rejected(tmp_path, content, problem):
    (tmp_path / "accounts.txt").write_text(content)
    with pytest.raises(ValueError, match=problem):
        Accounts(tmp_path / "accounts.txt")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"--auth .*nowhere\.txt cannot be read"):
        Accounts(tmp_path / "nowhere.txt")
