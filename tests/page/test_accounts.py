"""Accounts: passwords are hashed, changed and checked; wrong files are rejected."""

import asyncio
import io
import stat

import pytest

from page.accounts import MAX_WAIT_SECONDS, Accounts, FailedLogins, main, read_accounts, write_account


@pytest.fixture
def accounts_file(tmp_path):
    path = tmp_path / "accounts.txt"
    write_account(path, "anna", "correct horse")
    write_account(path, "bob", "battery staple")
    return path


def is_accepted(path, name, password):
    return asyncio.run(Accounts(path).check(name, password))


def test_only_the_correct_password_is_accepted(accounts_file):
    assert is_accepted(accounts_file, "anna", "correct horse")
    assert not is_accepted(accounts_file, "anna", "battery staple")
    assert not is_accepted(accounts_file, "anna", "")
    assert not is_accepted(accounts_file, "carl", "correct horse")


def test_file_has_no_password_and_only_its_owner_can_read_it(accounts_file):
    content = accounts_file.read_text()
    assert "horse" not in content
    assert content.startswith("anna:scrypt:16384:8:1:")
    assert stat.S_IMODE(accounts_file.stat().st_mode) == 0o600
    hashed = read_accounts(accounts_file)
    write_account(accounts_file, "anna", "correct horse")
    assert read_accounts(accounts_file)["anna"] != hashed["anna"]  # another salt
    assert read_accounts(accounts_file)["bob"] == hashed["bob"]


def test_adding_a_user_again_changes_the_password(accounts_file):
    write_account(accounts_file, "anna", "another one")
    assert is_accepted(accounts_file, "anna", "another one")
    assert not is_accepted(accounts_file, "anna", "correct horse")


def test_program_reads_the_password_from_standard_input(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("from a pipe\n"))
    main([str(tmp_path / "new.txt"), "dora"])
    assert is_accepted(tmp_path / "new.txt", "dora", "from a pipe")
    assert "dora can now use a page" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "password", "problem"),
    [
        ("a:b", "long enough", "'a:b' is not allowed; use no colon"),
        ("", "long enough", "is not allowed"),
        ("anna ", "long enough", "no blank at either end"),
        ("anna", "short", "has 5 characters; give 8 to 1000"),
    ],
)
def test_invalid_names_and_passwords_are_rejected(tmp_path, name, password, problem):
    with pytest.raises(ValueError, match=problem):
        write_account(tmp_path / "accounts.txt", name, password)
    assert not (tmp_path / "accounts.txt").exists()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "has no account; add one with `python -m page.accounts"),
        ("anna:secret\n", "line 1 of --auth .* is not an account"),
        ("anna:scrypt:16384:8:1:zz:00\n", "line 1 of"),
        ("anna:scrypt:99999999:8:1:00:00\n", "line 1 of"),
    ],
)
def test_file_that_is_not_an_accounts_file_is_rejected(tmp_path, content, problem):
    (tmp_path / "accounts.txt").write_text(content)
    with pytest.raises(ValueError, match=problem):
        Accounts(tmp_path / "accounts.txt")


def test_error_names_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r"--auth .*nowhere\.txt cannot be read"):
        Accounts(tmp_path / "nowhere.txt")


def test_wait_after_failed_logins_doubles_and_ends_with_a_correct_one():
    now = [0.0]
    failed = FailedLogins(clock=lambda: now[0])
    waits = []
    for _ in range(6):
        failed.add("name anna", "address 1")
        waits.append(failed.wait_seconds("name anna"))
    assert waits == [0, 0, 1, 2, 4, 8]
    assert failed.wait_seconds("name bob", "address 1") == 8  # also for other names from there
    assert failed.wait_seconds("name bob", "address 2") == 0
    now[0] = 8.0
    assert failed.wait_seconds("name anna") == 0
    for _ in range(20):
        failed.add("name anna")
    assert failed.wait_seconds("name anna") == MAX_WAIT_SECONDS
    failed.forget("name anna", "address 1")
    assert failed.wait_seconds("name anna", "address 1") == 0
