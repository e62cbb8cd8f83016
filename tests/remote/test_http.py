"""What web servers do: ranges, none, lies, cut connections, other objects in the same place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ckpt_doctor import scan
from ckpt_doctor.cli.main import main
from ckpt_doctor.errors import UsageError
from ckpt_doctor.remote import RemotePath, faults, http
from tests.remote.samples import of_many_tensors, safetensors, sparse_safetensors
from tests.remote.web import Handler, Web

SECRET = "hunter2"


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code, and what a command prints, on one line."""
    code = main(arguments)
    captured = capsys.readouterr()
    assert SECRET not in captured.out + captured.err
    return code, " ".join((captured.out + captured.err).split())


def test_of_a_large_file_its_beginning_and_its_end_are_read(
    web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = web.put("big.safetensors", sparse_safetensors(tmp_path / "big", 30 << 30))
    code, told = said(capsys, "scan", url)
    assert (0, 2) == (code, len(web.asked))
    assert web.sent <= (131 << 10)
    assert f"2 requests, {web.sent // 1000} KB read of 30.0 GiB" in told


def test_a_small_file_is_read_whole(web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    content = safetensors(100)
    assert 0 == said(capsys, "check", web.put("model.safetensors", content))[0]
    assert ([("model.safetensors", "bytes=0-65535")], len(content)) == (web.asked, web.sent)


def whole(handler: Handler, *_: int) -> bool:
    """A server that knows no ranges."""
    name = handler.path.partition("?")[0].strip("/")
    handler.answer(200, (content := handler.server.web.objects[name]).read(0, content.size))
    return True


def test_a_server_without_ranges_is_refused_before_the_file_comes(
    web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = web.put("big.safetensors", sparse_safetensors(tmp_path / "big", 256 << 20))
    web.faults["big.safetensors"] = whole
    code, told = said(capsys, "scan", url)
    assert (2, 1) == (code, len(web.asked))
    assert "no parts of them: download a copy" in told
    assert web.sent < 64 << 20  # what the sockets took before it was hung up


def test_of_a_server_without_ranges_a_small_file_is_read(web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    url = web.put("model.safetensors", safetensors(100))
    web.faults["model.safetensors"] = whole
    assert 0 == said(capsys, "scan", url)[0]


@pytest.mark.parametrize(
    ("status", "sentence"), [(404, "does not exist"), (403, "wrong or has expired"), (401, "get a new URL")]
)
def test_what_cannot_be_read_is_wrong_usage(
    web: Web, capsys: pytest.CaptureFixture[str], status: int, sentence: str
) -> None:
    web.faults["model.pt"] = lambda handler, *_: handler.answer(status, b"<xml>") or True
    url = f"{web.url}/model.pt?X-Amz-Signature={SECRET}".replace("://", f"://me:{SECRET}@")
    code, told = said(capsys, "scan", url)
    assert (2, f"Error: {web.url}/model.pt") == (code, told.partition(" X")[0][: len(f"Error: {web.url}/model.pt")])
    assert sentence in told


def test_credentials_of_a_url_reach_the_server_and_nobody_else(web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[tuple[str, str]] = []
    web.faults["model.safetensors"] = lambda handler, *_: heard.append(
        (handler.path, handler.headers.get("Authorization", ""))
    )
    url = f"{web.put('model.safetensors', safetensors())}?sig={SECRET}".replace("://", f"://me:{SECRET}@")
    for form in ("table", "json", "sarif", "html"):
        said(capsys, "scan", url, "--format", form, "-v")
    assert heard
    assert all(path.endswith(SECRET) and key.startswith("Basic ") for path, key in heard)


def cut(handler: Handler, start: int, end: int) -> bool:
    """Half of the range."""
    body, size = handler.server.web.objects["model.safetensors"].read(start, end), 4 << 20
    handler.answer(206, body[: len(body) // 2], len(body), **{"Content-Range": f"bytes {start}-{end - 1}/{size}"})
    return True


def behind_the_first(fault: Any) -> Any:
    """The fault from the second look at the file on."""
    return lambda handler, start, end: start > 0 and fault(handler, start, end)


def other_part(handler: Handler, start: int, end: int) -> bool:
    size = handler.server.web.objects["model.safetensors"].size
    handler.part(b"x" * (end - start), start - 5, end - 5, size)
    return True


def longer(handler: Handler, start: int, end: int) -> bool:
    size = handler.server.web.objects["model.safetensors"].size
    handler.answer(206, b"x" * (end - start + 9), **{"Content-Range": f"bytes {start}-{end - 1}/{size}"})
    return True


def without_length(handler: Handler, start: int, end: int) -> bool:
    """A body of another length than its range, which only the end of the connection shows."""
    size = handler.server.web.objects["model.safetensors"].size
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
    handler.end_headers()
    handler.wfile.write(b"x" * (end - start - 7))
    handler.close_connection = True
    return True


def ended(handler: Handler, *_: int) -> bool:
    size = handler.server.web.objects["model.safetensors"].size
    handler.answer(416, b"", **{"Content-Range": f"bytes */{size}"})
    return True


def nowhere(handler: Handler, *_: int) -> bool:
    handler.answer(416, b"")
    return True


def endless(handler: Handler, start: int, end: int) -> bool:
    size = handler.server.web.objects["model.safetensors"].size
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
    handler.send_header("Content-Length", str(end - start))
    handler.end_headers()
    handler.drip()
    return True


def shifted(handler: Handler, start: int, end: int) -> bool:
    """The bytes before those that it says."""
    content = handler.server.web.objects["model.safetensors"]
    handler.part(content.read(start - 1, end - 1), start, end, content.size)
    return True


def replaced_in_secret(handler: Handler, *_: int) -> bool:
    """By another object of the same size, under the same tag."""
    content = handler.server.web.objects["model.safetensors"]
    content.source = bytes(content.size)
    return False


def replaced(handler: Handler, *_: int) -> bool:
    handler.server.web.tags["model.safetensors"] = '"two"'
    return False


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (cut, "the connection broke off"),
        (other_part, "another part of the file than it was asked for"),
        (longer, "another part of the file than it was asked for"),
        (without_length, "fewer bytes than it announces"),
        (ended, "the file ends before its own end"),
        (nowhere, "does not say how long it is"),
        (endless, "the server is silent or too slow"),
        (lambda handler, *_: handler.answer(503, b"") or True, "status 503"),
        (lambda handler, *_: handler.answer(403, b"") or True, "access is refused"),
    ],
)
def test_what_goes_wrong_behind_the_first_look_is_a_finding(
    web: Web, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fault: Any, sentence: str
) -> None:
    """Never half a verdict: of such a file nothing else is said."""
    monkeypatch.setattr(http, "LONGEST", 0.1)
    web.faults["model.safetensors"] = behind_the_first(fault)
    code, told = said(capsys, "scan", web.put("model.safetensors", safetensors()))
    assert 1 == code
    assert "F106 unreadable-file" in told
    assert sentence in told
    assert "1 checkpoint: 1 broken" in told


@pytest.mark.parametrize("fault", [shifted, replaced_in_secret])
def test_what_looks_damaged_is_asked_for_again(web: Web, capsys: pytest.CaptureFixture[str], fault: Any) -> None:
    """It is the server that is at fault where the same part then has other bytes."""
    url = web.put("model.safetensors", of_many_tensors())
    for healthy in (True, False):
        code, told = said(capsys, "scan", url)
        assert (not healthy, not healthy) == (code, "other bytes of the same part" in told), told
        assert healthy or "1 checkpoint: 1 broken" in told
        web.faults["model.safetensors"] = behind_the_first(fault)
    web.faults.clear()
    code, told = said(capsys, "scan", web.put("model.safetensors", of_many_tensors()[:-9]))
    assert (1, True) == (code, "F101" in told), "cut off indeed"


def test_without_a_sign_of_the_content_its_parts_may_be_of_two_files(
    web: Web, capsys: pytest.CaptureFixture[str]
) -> None:
    web.tags["model.safetensors"] = ""
    for content, is_unsure in ((safetensors(), True), (safetensors(8), False)):  # in one request
        code, told = said(capsys, "scan", web.put("model.safetensors", content), "-v")
        assert (0, is_unsure) == (code, "whether all parts that were read are of one object" in told)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (replaced, "was replaced while it was read"),
        (lambda handler, *_: handler.answer(404, b"") or True, "is not there any more"),
    ],
)
def test_what_vanishes_behind_the_first_look_is_not_judged(
    web: Web, capsys: pytest.CaptureFixture[str], fault: Any, sentence: str
) -> None:
    """It is not broken either; to resume from it is refused."""
    web.faults["model.safetensors"] = behind_the_first(fault)
    url = web.put("model.safetensors", safetensors())
    code, told = said(capsys, "scan", url)
    assert (0, True, True) == (code, sentence in told, "1 checkpoint: 1 not judged" in told)
    web.tags.clear()
    code, told = said(capsys, "scan", url, web.put("other/model.safetensors", safetensors(8)))
    assert (0, True) == (code, sentence in told.splitlines()[0]), "not told among those of no known trainer"
    web.tags.clear()
    code, told = said(capsys, "check", url)
    assert (1, True) == (code, "F106" in told)


def test_a_connection_that_breaks_once_is_made_again(web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    broken: list[int] = []

    def once(handler: Handler, start: int, end: int) -> bool:
        return start > 0 and not broken and (broken.append(start) or cut(handler, start, end))

    web.faults["model.safetensors"] = once
    code, told = said(capsys, "scan", web.put("model.safetensors", safetensors()))
    assert (0, 1) == (code, len(broken))
    assert "3 requests" in told


@pytest.mark.parametrize("tag", ['"\u00e9"', 'W/"one"'])
def test_a_sign_of_the_content_may_have_any_bytes_and_become_a_weak_one(
    web: Web, capsys: pytest.CaptureFixture[str], tag: str
) -> None:
    """In Latin-1, as HTTP once had it; of a proxy."""
    web.tags["model.safetensors"] = tag.removeprefix("W/")
    web.faults["model.safetensors"] = behind_the_first(lambda *_: web.tags.update({"model.safetensors": tag}))
    code, told = said(capsys, "scan", web.put("model.safetensors", safetensors()))
    assert (0, False) == (code, "replaced" in told)


def test_urls_that_are_shown_alike_are_never_taken_for_each_other(web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    url = web.put("download", safetensors())
    one, two = f"{url}?id=1{SECRET}", f"{url}?id=2{SECRET}"
    for command in ("scan", "diff"):
        code, told = said(capsys, command, one, two)
        assert (2, True) == (code, "give one at a time" in told)
    with pytest.raises(UsageError, match="one at a time"):
        scan([one, url])
    for asked, given in ((url, url), ([one, one], one)):
        [file] = scan(asked).files
        assert isinstance(path := file.checkpoint.path, RemotePath)
        assert given == path.given


def test_redirects_are_followed(web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    web.put("far/model.safetensors", safetensors())
    web.faults["model.safetensors"] = lambda handler, *_: (
        handler.answer(302, b"", Location=f"{web.url}/far/model.safetensors") or True
    )
    assert 0 == said(capsys, "scan", f"{web.url}/model.safetensors")[0]


def test_deep_reads_the_whole_file_in_pieces(
    web: Web, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = safetensors()
    monkeypatch.setattr("ckpt_doctor.readers.remote_view._PIECE", 100_000)
    code, told = said(capsys, "scan", web.put("model.safetensors", content), "--deep")
    assert (0, True) == (code, len(content) <= web.sent < 2 * len(content))
    assert "1 checkpoint" in told


def test_a_server_that_is_not_there_is_wrong_usage(capsys: pytest.CaptureFixture[str], web: Web) -> None:
    code, told = said(capsys, "scan", "http://127.0.0.1:9/model.pt")
    assert (2, True) == (code, "the server cannot be reached" in told)


def page(handler: Handler, *_: int) -> bool:
    handler.answer(200, b"<html>Log in" + bytes(1 << 17), **{"Content-Type": "text/html; charset=utf-8"})
    return True


@pytest.mark.parametrize("encoding", ["Identity", "aws-chunked"])
def test_an_encoding_that_leaves_the_bytes_as_they_are_is_none(
    web: Web, capsys: pytest.CaptureFixture[str], encoding: str
) -> None:
    def answer(handler: Handler, start: int, end: int) -> bool:
        content = handler.server.web.objects["model.safetensors"]
        told = {"Content-Encoding": encoding, "Content-Range": f"bytes {start}-{end - 1}/{content.size}"}
        handler.answer(206, content.read(start, end), **told)
        return True

    web.faults["model.safetensors"] = answer
    assert 0 == said(capsys, "scan", web.put("model.safetensors", safetensors()))[0]


def compressed(handler: Handler, start: int, end: int) -> bool:
    handler.answer(206, b"1", **{"Content-Encoding": "gzip", "Content-Range": f"bytes {start}-{end - 1}/{end}"})
    return True


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (page, "the server sends a web page, as of a login"),
        (compressed, "the server compresses the file, so that parts of it tell nothing: download a copy"),
        (lambda handler, *_: handler.answer(403, b"") or True, "give a URL with a signature"),
        (lambda handler, *_: handler.answer(429, b"") or True, "status 429, again and again: run it again later"),
        (lambda handler, *_: handler.answer(302, b"", Location=handler.path) or True, "redirects again and again"),
        (lambda handler, *_: handler.answer(302, b"", Location="ftp://host/x") or True, "neither http nor https"),
    ],
)
def test_a_server_that_does_not_give_the_file_is_wrong_usage(
    web: Web, capsys: pytest.CaptureFixture[str], fault: Any, sentence: str
) -> None:
    web.faults["model.safetensors"] = fault
    code, told = said(capsys, "scan", web.put("model.safetensors", safetensors()))
    assert (2, True) == (code, sentence in told), told


def test_a_server_that_asks_for_a_pause_gets_it(
    web: Web, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(faults.time, "sleep", pauses.append)
    answers = iter([("7", True), ("9999", True), ("soon", True)])

    def busy(handler: Handler, *_: int) -> bool:
        wanted, is_busy = next(answers, ("", False))
        return is_busy and (handler.answer(429, b"", **{"Retry-After": wanted}) or True)

    web.faults["model.safetensors"] = busy
    assert 0 == said(capsys, "scan", web.put("model.safetensors", safetensors(8)))[0]
    assert [0.0, 7.0, faults._LONGEST_PAUSE, faults.PAUSE * 4] == pauses


def test_a_server_that_is_silent_is_not_waited_for_again(
    web: Web, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many objects each would cost as long as the first."""
    monkeypatch.setattr(http, "LONGEST", 0.1)
    monkeypatch.setattr(faults, "PATIENCE", 0.0)
    urls = [web.put(f"{name}.safetensors", safetensors()) for name in "abc"]
    web.put("model.safetensors", safetensors())  # whose size `endless` announces
    web.faults |= {f"{name}.safetensors": behind_the_first(endless) for name in "abc"}
    code, told = said(capsys, "scan", *urls)
    assert (1, True) == (code, "is silent or too slow" in told)
    behind = [name for name, wanted in web.asked if not wanted.startswith("bytes=0-")]
    assert len(behind) == len(set(behind)), "the first look at all of them at once"
