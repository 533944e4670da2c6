"""Whose file is it, how much may there be, and when does it go?"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

import files as files_module
from files import SMALLEST, Files
from t2i_judge.errors import UserError
from tests.space.test_limits import gone, upload
from visitors import COOKIE, Visitor, new_cookie, visitor_of

ANNA = Visitor("a" * 32, "session-a", "10.0.0.1")
BERT = Visitor("b" * 32, "session-b", "10.0.0.2")


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path / "visitors")


def refusal(files: Files, visitor: Visitor, path: object) -> str:
    with pytest.raises(UserError) as refused:
        files.named(visitor, path)
    return str(refused.value)


def test_a_file_is_its_visitors_alone_and_whatever_else_is_named_gets_the_same_words(files, tmp_path):
    mine = upload(files, "mine.png", b"1", ANNA)
    assert files.named(ANNA, str(mine)) == mine
    outside = tmp_path / "secret.png"
    outside.write_bytes(b"2")
    link = mine.parent / "link.png"
    link.symlink_to(outside)
    loop = mine.parent / "loop.png"
    loop.symlink_to(loop)
    there = [
        link,
        loop,
        outside,
        tmp_path,
        mine.parent,
        mine.parent / "no.png",
        tmp_path / "no.png",
        "x\0y",
        "a" * 5000,
    ]
    other = [None, 5, True, [str(mine)], {"path": str(mine)}, "", "/etc/passwd", f"{mine}/..", f"file://{mine}"]
    told = {refusal(files, ANNA, path if not hasattr(path, "parent") else str(path)) for path in there + other}
    told.add(refusal(files, BERT, str(mine)))
    assert len(told) == 1


def test_a_path_of_a_megabyte_is_no_work(files):
    start = time.process_time()
    refusal(files, ANNA, "/" + "../" * 600_000)
    assert time.process_time() - start < 5


def test_the_first_visit_that_names_an_upload_keeps_it(files):
    client = Visitor(address="10.0.0.9")  # no cookie, and an upload has no session
    path = upload(files, "x.png", b"1", client)
    assert files.named(client, str(path))  # by plain HTTP, as often as it likes
    assert files.named(Visitor(session="one", address="10.0.0.9"), str(path))
    refusal(files, Visitor(session="two", address="10.0.0.9"), str(path))
    refusal(files, client, str(path))


def test_identical_uploads_are_two_files_and_deleting_one_leaves_the_other(files, monkeypatch):
    monkeypatch.setattr(files_module, "GRACE", 0.0)
    hers, his = upload(files, "x.png", b"same", ANNA), upload(files, "x.png", b"same", BERT)
    assert hers != his
    files.forget(str(hers))
    assert gone(hers)
    assert gone(hers.parent)
    assert his.exists()
    refusal(files, ANNA, str(hers))


def test_what_is_everybodys_is_never_deleted(files, tmp_path, monkeypatch):
    monkeypatch.setattr(files_module, "GRACE", 0.0)
    example = tmp_path / "example.png"
    example.write_bytes(b"1")
    files.share([example])
    assert files.named(ANNA, str(example)) == files.named(BERT, str(example)) == example
    assert files.may_see(Visitor(), str(example))
    files.forget(str(example))
    time.sleep(0.2)
    assert example.exists()


def test_a_browser_sees_its_own_pictures_only(files):
    path = upload(files, "x.png", b"1", ANNA)
    assert files.may_see(Visitor(ANNA.browser), str(path))
    assert not files.may_see(BERT, str(path))
    assert not files.may_see(Visitor(), str(path))
    for elsewhere in ("/etc/passwd", str(path.parent), "", "x\0y"):
        assert not files.may_see(ANNA, elsewhere)


def test_nobody_takes_more_than_a_share_and_nothing_in_use_makes_room(tmp_path):
    files = Files(tmp_path, each=5 * SMALLEST, together=8 * SMALLEST)
    hers = [upload(files, f"{n}.png", bytes(2 * SMALLEST), ANNA) for n in range(2)]
    with pytest.raises(UserError, match="Your pictures here") as refused:
        upload(files, "3.png", bytes(2 * SMALLEST), ANNA)
    assert "\n" not in str(refused.value)
    his = [upload(files, f"{n}.png", b"1", BERT) for n in range(4)]  # a file counts for something, however small
    other = Visitor(address="10.0.0.3")
    with pytest.raises(UserError, match="no room"):
        upload(files, "x.png", b"1", other)
    assert all(path.exists() for path in hers + his)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 6
    files.forget(str(hers[0]))
    assert upload(files, "x.png", b"1", other).exists()
    assert not hers[0].exists(), "what is done with makes room before its time"
    assert hers[1].exists()


def test_a_range_with_fresh_cookies_leaves_room_for_others_and_each_byte_is_counted_once(tmp_path):
    files = Files(tmp_path, each=4 * SMALLEST, together=20 * SMALLEST)

    def fill(network: str) -> list:
        kept = []
        for number in range(20):
            try:
                who = Visitor(f"{network}-{number}", f"s-{number}", f"{network}.{number}")
                kept.append((who, upload(files, "x.png", b"1", who)))
                files.named(who, str(kept[-1][1]))
            except UserError:
                break
        return kept

    def fill_all() -> list[list]:
        return [fill(network) for network in ("8.8.8", "9.9.9", "4.4.4")]

    crowds = fill_all()
    assert [len(crowd) for crowd in crowds] == [10, 5, 2], "half of what is left, each"
    for who, path in crowds[0]:
        files.forget(str(path))
        files.only(who, "", [])
    assert upload(files, "x.png", bytes(4 * SMALLEST), Visitor("c", "s", "4.4.4.9")).exists()
    assert not crowds[0][0][1].exists()
    with pytest.raises(RuntimeError), files.room(BERT) as room:
        room.count(SMALLEST)
        raise RuntimeError("gone")
    assert files.bytes.sum == sum(file.size for file in files._files.values())
    files.close()
    assert files.bytes.sum == 0
    assert not files.bytes._sums


def test_a_shares_last_byte_can_be_used(tmp_path):
    files = Files(tmp_path, each=4 * SMALLEST)
    with files.room(ANNA, 4 * SMALLEST) as room:
        for number in range(4):
            room.count(SMALLEST)
            (room.folder / f"{number}.png").write_bytes(bytes(SMALLEST))
        for number in range(4):
            room.add(room.folder / f"{number}.png")
    with pytest.raises(UserError):
        upload(files, "x.png", b"", ANNA)


def test_bytes_count_as_they_come_and_not_before(tmp_path):
    files = Files(tmp_path, each=5 * SMALLEST)
    with files.room(ANNA, 4 * SMALLEST), files.room(ANNA, 4 * SMALLEST) as second:
        second.count(3 * SMALLEST)
        with pytest.raises(UserError), files.room(ANNA, 3 * SMALLEST):
            pass
        with pytest.raises(UserError):
            second.count(3 * SMALLEST)
    with files.room(ANNA, 4 * SMALLEST):
        pass


def test_of_a_form_with_one_file_too_many_none_is_kept(tmp_path):
    files = Files(tmp_path, each=3 * SMALLEST)
    with pytest.raises(UserError), files.room(ANNA) as room:
        for number in range(4):
            (room.folder / f"{number}.png").write_bytes(b"1")
        for number in range(4):
            room.add(room.folder / f"{number}.png")
    assert list(tmp_path.iterdir()) == []
    upload(files, "x.png", b"1", ANNA)


def clock(files: Files, monkeypatch) -> Callable[[float], None]:
    """A clock that stands still; `clock(...)(60)` lets so many seconds pass."""
    now = [time.monotonic()]
    monkeypatch.setattr(files_module, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def after(seconds: float) -> None:
        now[0] += seconds
        files._reap()

    return after


def test_what_nobody_names_goes_and_what_is_named_again_stays(files, monkeypatch):
    after = clock(files, monkeypatch)
    monkeypatch.setattr(files_module, "GRACE", 60.0)
    named, unnamed = upload(files, "old.png", b"1", ANNA), upload(files, "new.png", b"1", BERT)
    files.named(ANNA, str(named))
    after(files_module.UNNAMED)
    assert named.exists() and not unnamed.exists()
    files.forget(str(named))
    files.named(ANNA, str(named))
    after(60.0)
    assert named.exists()
    files.forget(str(named))
    after(60.0)
    assert not named.exists()


def test_a_visit_that_is_over_leaves_its_files_for_a_while(files, monkeypatch):
    after = clock(files, monkeypatch)
    paths = [upload(files, f"{n}.png", b"1", visitor) for n, visitor in enumerate((ANNA, ANNA, BERT))]
    for path, visitor in zip(paths, (ANNA, ANNA, BERT), strict=True):
        files.named(visitor, str(path))
    files.leave(ANNA)
    files.named(ANNA, str(paths[1]))  # the line was broken, the visitor is not gone
    after(files_module.LEFT)
    assert [path.exists() for path in paths] == [False, True, True]


def test_a_component_keeps_what_it_shows(files, monkeypatch):
    monkeypatch.setattr(files_module, "GRACE", 0.1)

    def made(visitor: Visitor, slot: str):
        with files.room(visitor) as room:
            (room.folder / "a.png").write_bytes(b"1")
            return room.add(room.folder / "a.png", slot)

    first, second, other, his = made(ANNA, "one"), made(ANNA, "one"), made(ANNA, "two"), made(BERT, "one")
    files.only(ANNA, "one", [str(second)])
    assert gone(first)
    assert all(path.exists() for path in (second, other, his))


def test_many_files_take_one_thread(files):
    before = threading.active_count()
    for number in range(200):
        files.forget(str(upload(files, f"{number}.png", b"1", ANNA)))
    assert threading.active_count() <= before + 1


def test_an_upload_that_breaks_off_leaves_nothing(files):
    with pytest.raises(RuntimeError), files.room(ANNA, 10) as room:
        (room.folder / "part").mkdir()
        (room.folder / "part" / "half.png").write_bytes(b"1")
        raise RuntimeError("gone")
    assert list(files.folder.iterdir()) == []


def test_many_at_once_never_pass_the_quota(tmp_path):
    files = Files(tmp_path, each=10 * SMALLEST)
    taken = []

    def one(number: int) -> None:
        try:
            taken.append(upload(files, f"{number}.png", bytes(SMALLEST), ANNA))
        except UserError:
            return

    threads = [threading.Thread(target=one, args=[number]) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= len(taken) <= 10
    assert all(path.exists() for path in taken)


def test_a_browser_is_known_by_the_cookie_it_was_given():
    cookie = new_cookie(secure=True).split(b";")[0]
    for others in (b"", b"other=1; ", b'a={"x": 1}; ', b"a b=1; ", b"path=/; ", b"\xff=\xff;", b'x="; '):
        scope = {"headers": [(b"cookie", others + cookie)], "client": ("10.0.0.1", 5)}
        visitor = visitor_of(scope, "s")
        assert cookie.decode().startswith(f"{COOKIE}={visitor.browser}")
        assert visitor.account == visitor.browser != ""
    forged = f"{COOKIE}={'0' * 64}".encode()
    for bad in (b"", forged, forged[:-1], cookie + b"0", b"x" + cookie, b"\xff;;="):
        assert visitor_of({**scope, "headers": [(b"cookie", bad)]}).account == "10.0.0.1"
