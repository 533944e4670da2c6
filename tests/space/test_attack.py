"""A hostile visitor over plain HTTP: files of the server and of others, small files that are slow, a full disk."""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import httpx
import pytest
from PIL import Image

import files as files_module
import uploads
from composer import EXAMPLES, draw, faithful
from limits import DECODERS, UPLOAD
from t2i_judge.inputs.decoding import Decoders
from tests.embedded import needs_embedded_judge
from tests.slow_pictures import ATTACKS, progressive
from tests.waiting import PATIENCE, eventually
from visitors import COOKIE

pytestmark = pytest.mark.slow
PROMPT = EXAMPLES[0].text
REFUSED = "This is not a file that you uploaded here"
KEYS = ("path", "url", "data", "meta")
VALUES = {"textbox": PROMPT, "dropdown": "tiny", "checkbox": False}


@pytest.fixture(scope="module")
def app(desk, tmp_path_factory):
    """A Space of this module's own, whose quota is small and whose uploads go at once."""
    from annotation_store import AnnotationStore, FolderShelf
    from app import build, launch_options

    demo = build(desk, None, AnnotationStore(FolderShelf(tmp_path_factory.mktemp("annotations"))))
    demo.launch(server_name="127.0.0.1", prevent_thread_lock=True, **launch_options())
    grace, files_module.GRACE = files_module.GRACE, 0.2
    decoders, uploads._DECODERS = uploads._DECODERS, Decoders(DECODERS, seconds=0.3)
    yield demo
    files_module.GRACE = grace
    uploads._DECODERS.close()
    uploads._DECODERS = decoders
    demo.close()


def slow_picture() -> bytes:
    """One whose structure is sound, and which takes its decoder longer than it may have here."""
    return progressive(scans=50)


@pytest.fixture(scope="module")
def url(app) -> str:
    return app.local_url.rstrip("/")


def png(colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(out, "PNG")
    return out.getvalue()


def upload(url: str, data: bytes, name: str = "x.png", **options) -> str:
    answer = httpx.post(f"{url}/gradio_api/upload", files={"files": (name, data)}, **options)
    answer.raise_for_status()
    [path] = answer.json()
    return path


def forms(url: str) -> Iterator[tuple[int, str, list, list[int]]]:
    """Every function that takes a file: number, API name, values that it would take, and which of them are files."""
    config = httpx.get(f"{url}/config").json()
    kinds = {component["id"]: component["type"] for component in config["components"]}
    for number, dependency in enumerate(config["dependencies"]):
        types = [kinds[component] for component in dependency["inputs"]]
        places = [place for place, kind in enumerate(types) if kind in ("image", "gallery")]
        if places:
            yield dependency.get("id", number), dependency["api_name"], [VALUES.get(kind) for kind in types], places


def filled(values: list, places: list[int], at: int, payload: object, gallery: bool) -> list:
    """The values with a payload in one place, wrapped as a gallery wants it where it is one."""
    shaped = [{"image": payload, "caption": None}] * 2 if gallery else payload
    return [shaped if place == at else value for place, value in enumerate(values)]


def join(url: str, number: int, data: list, session: str) -> str:
    """Call a function by its number as the page does; the messages that come back."""
    body = {"fn_index": number, "data": data, "session_hash": session, "event_data": None, "trigger_id": None}
    httpx.post(f"{url}/gradio_api/queue/join", json=body, timeout=60).raise_for_status()
    with httpx.stream("GET", f"{url}/gradio_api/queue/data", params={"session_hash": session}, timeout=60) as stream:
        for line in stream.iter_lines():
            if "process_completed" in line:
                return line
    raise AssertionError("no answer")


def call(url: str, name: str, data: list) -> str:
    """Call an endpoint by plain HTTP, as the API's page tells."""
    event = httpx.post(f"{url}/gradio_api/call/{name}", json={"data": data}, timeout=60).json()["event_id"]
    return httpx.get(f"{url}/gradio_api/call/{name}/{event}", timeout=60).text


@pytest.fixture(scope="module")
def outside(tmp_path_factory) -> dict[str, str]:
    """What lies outside: a young picture (an annotator's, say), a text, a folder, nothing, a link in the folder."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "picture.png").write_bytes(png())
    (folder / "text.png").write_text("root:x:0:0")
    return {
        "picture": str(folder / "picture.png"),
        "text": str(folder / "text.png"),
        "folder": str(folder),
        "nothing": str(folder / "nothing.png"),
        "relative": "../../../../../etc/passwd",
        "system": "/etc/passwd",
    }


def payloads(path: str) -> Iterator[dict]:
    """Every combination of the keys of a file payload, all of them naming `path`."""
    whole = {
        "path": path,
        "url": f"/gradio_api/file={path}",
        "data": "data:image/png;base64," + base64.b64encode(png()).decode(),
        "meta": {"_type": "gradio.FileData"},
    }
    for size in range(len(KEYS) + 1):
        for keys in combinations(KEYS, size):
            yield {key: whole[key] for key in keys}
    yield {**whole, "path": None}
    yield {**whole, "path": [path]}
    yield {**whole, "orig_name": path, "is_stream": True}


def test_no_file_but_the_visitors_own_is_read_by_any_function(url, outside):
    functions = list(forms(url))
    assert len(functions) >= 8
    hers = upload(url, png("blue"))
    hers_named = join(
        url,
        functions[0][0],
        filled(functions[0][2], functions[0][3], functions[0][3][0], {"path": hers}, False),
        "anna",
    )
    assert '"success":true' in hers_named.replace(" ", "")
    sent = [
        each
        for path in outside.values()
        for each in ({"path": path}, {"path": path, "meta": {"_type": "gradio.FileData"}})
    ]
    sent += [*payloads(outside["picture"]), {"path": hers}, *outside.values(), [outside["picture"]], 7, True, "", {}]
    attacks = [
        (number, filled(values, places, at, payload, gallery))
        for number, name, values, places in functions
        for at in places
        for payload in sent
        for gallery in ({False, True} if "image" in str(values) or len(places) == 1 else {False})
    ]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda job: join(url, *job[1], f"attack-{job[0]}"), enumerate(attacks)))
    told = {json.loads(answer.removeprefix("data: "))["output"].get("error") for answer in answers}
    assert len(answers) > 300
    assert {text.partition(".")[0] for text in told} == {REFUSED}
    assert len(told) == 1
    time.sleep(0.6)
    assert all(Path(outside[name]).exists() for name in ("picture", "text")), "and nothing was deleted"


@pytest.mark.parametrize("name", ["judge", "compare"])
def test_nor_by_an_endpoint_of_the_api(url, outside, name):
    gallery = name == "compare"
    rest = [PROMPT, "tiny"] if gallery else [PROMPT, "tiny", False, None]
    for path in outside.values():
        for payload in payloads(path):
            shaped = [{"image": payload, "caption": None}] * 2 if gallery else payload
            answer = call(url, name, [shaped, *rest])
            assert answer.startswith("event: error")
            assert REFUSED in answer
    if not gallery:
        mine = {"path": upload(url, png())}
        assert REFUSED in call(url, name, [mine, PROMPT, "tiny", False, {"path": outside["picture"]}])
    assert Path(outside["picture"]).exists()


def test_a_file_that_somebody_else_uploaded_is_not_sent(url, outside):
    anna, bert = httpx.Client(base_url=url), httpx.Client(base_url=url)
    for browser in (anna, bert):
        assert browser.get("/").status_code == 200
        assert COOKIE in browser.cookies
    [path] = anna.post("/gradio_api/upload", files={"files": ("x.png", png())}).json()
    assert anna.get(f"/gradio_api/file={path}").content == png()
    told = {
        (answer.status_code, answer.text)
        for answer in (bert.get(f"/gradio_api/file={path}"), httpx.get(f"{url}/gradio_api/file={path}"))
    }
    for place in (place for name, place in outside.items() if name != "relative"):  # the client itself would resolve it
        for sign in "=/":
            answer = anna.get(f"/gradio_api/file{sign}{place}")
            told.add((answer.status_code, answer.text))
    assert told == {(403, "There is no such file for you here.")}


@needs_embedded_judge
def test_two_visitors_identical_uploads_are_two_files(url):
    data = io.BytesIO()
    draw(faithful(EXAMPLES[0], 0)).save(data, "PNG")
    hers, his = upload(url, data.getvalue()), upload(url, data.getvalue())
    assert hers != his
    assert "event: complete" in call(url, "judge", [{"path": hers}, PROMPT, "tiny", False, None])
    assert eventually(lambda: not Path(hers).exists())
    assert Path(his).exists()
    assert "event: complete" in call(url, "judge", [{"path": his}, PROMPT, "tiny", False, None])


class Decoding:
    """What decodes one upload after the other, whether it is `busy` with one, and may go on since it is `free`."""

    def __init__(self) -> None:
        self.busy, self.free, self._decoded = False, threading.Event(), uploads._decoded

    def __call__(self, *args):
        self.busy = True
        try:
            assert self.free.wait(PATIENCE)
            return self._decoded(*args)
        finally:
            self.busy = False


@pytest.fixture
def decoding(monkeypatch) -> Decoding:
    kept = Decoding()
    monkeypatch.setattr(uploads, "_decoded", kept)
    return kept


def test_a_slow_picture_keeps_nobody_waiting(url, decoding):
    slow = slow_picture()
    assert len(slow) < 400_000

    def attack() -> None:
        data = [{"path": upload(url, slow)}, PROMPT, "tiny", False, None]
        assert "takes too long to decode" in call(url, "judge", data)

    _, beside = pages_beside(url, attack, decoding)
    assert beside >= 5, "were it decoded by the server itself, pages would come after it"


@pytest.mark.parametrize("name", ATTACKS)
def test_a_small_file_that_freezes_everything_freezes_nothing(url, name, decoding):
    data = ATTACKS[name]()
    if len(data) > UPLOAD.bytes:
        return

    def attack() -> None:
        answer = call(url, "judge", [{"path": upload(url, data)}, PROMPT, "tiny", False, None])
        assert "event: error" in answer
        assert "no picture needs" in answer or "more than the file" in answer

    start = time.process_time()  # of the server and its visitors: the machine may have other things to do
    pages, _ = pages_beside(url, attack, decoding, pause=0.2)
    assert pages >= 5
    assert time.process_time() - start < 10


def test_one_visitor_does_not_keep_all_decoders(url):
    """Twelve slow pictures at once, of one address: a browser's own is opened meanwhile, as fast as ever."""
    slow = [upload(url, slow_picture()) for _ in range(12)]
    browser = httpx.Client(base_url=url, timeout=30)
    browser.get("/")
    with ThreadPoolExecutor(12) as pool:
        attacks = [pool.submit(call, url, "judge", [{"path": path}, PROMPT, "tiny", False, None]) for path in slow]
        time.sleep(0.5)
        [mine] = browser.post("/gradio_api/upload", files={"files": ("x.png", png())}).json()
        event = browser.post("/gradio_api/call/judge", json={"data": [{"path": mine}, PROMPT, "tiny", False, None]})
        text = browser.get(f"/gradio_api/call/judge/{event.json()['event_id']}").text
        assert sum(not attack.done() for attack in attacks) > 3, "they go one after the other"
        answers = [attack.result() for attack in attacks]
    assert "event:" in text
    assert all("takes too long to decode" in answer or "turn did not come" in answer for answer in answers)


def test_an_upload_beyond_the_quota_is_refused_and_nothing_in_use_goes(app, url):
    app.files.bytes.each, each = 1_000_000, app.files.bytes.each
    browser = httpx.Client(base_url=url)
    browser.get("/")
    try:
        kept = []
        for _ in range(12):
            answer = browser.post("/gradio_api/upload", files={"files": ("x.png", png() + bytes(200_000))})
            if answer.status_code != 200:
                break
            kept += answer.json()
        assert answer.status_code == 429
        assert answer.text.startswith("Your pictures here would take more than 1 MB. ")
        assert 2 <= len(kept) <= 5
        assert all(Path(path).exists() for path in kept)
    finally:
        app.files.bytes.each = each


def test_uploads_leave_nothing_that_is_not_counted(app, url):
    """Files in other fields, torn forms, and forms that are none."""

    def there() -> set[Path]:
        return {path for path in app.files.folder.rglob("*") if path.is_file()}

    before, address = there(), f"{url}/gradio_api/upload"
    answer = httpx.post(address, files=[("files", ("a.png", png())), ("other", ("b.png", png()))])
    [kept] = answer.json()
    boundary = {"content-type": "multipart/form-data; boundary=x"}
    torn = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\nhalf'
    for body, headers in ((torn, boundary), (b"", boundary), (b"{}", {"content-type": "application/json"}), (b"x", {})):
        answer = httpx.post(address, content=body, headers=headers)
        assert answer.status_code in (200, 400), answer.text
        assert answer.text == "[]" or "not an upload" in answer.text
    assert httpx.post(address, data={"files": "a text"}, files={"x": b""}).status_code == 400
    noted = httpx.post(address, data={"note": "hello"}, files={"files": ("c.png", png())})
    assert noted.status_code == 200
    assert httpx.post(address, files={"files": ("../../../../tmp/evil.png", png())}).status_code == 200
    assert httpx.get(address).status_code == 400
    grown = there() - before
    assert Path(kept) in grown
    assert len(grown) == 3
    assert not Path("/tmp/evil.png").exists()


@pytest.mark.parametrize(
    "route",
    [
        "process_recording",
        "component_server",
        "deep_link",
        "vibe-code/",
        "run-history/buckets",
        "stream/x",
        "dev/reload",
    ],
)
def test_routes_that_the_page_does_not_use_are_closed(url, route):
    for method in ("GET", "POST"):
        answer = httpx.request(method, f"{url}/gradio_api/{route}")
        assert (answer.status_code, answer.text) == (404, "That is not offered here.")


def test_odd_json_gets_an_answer(url):
    deep = json.loads("[" * 400 + "]" * 400)
    assert REFUSED in call(url, "judge", [deep, PROMPT, "tiny", False, None])
    assert "event: error" in call(url, "judge", [None])


def pages_beside(url: str, attack, decoding: Decoding | None = None, pause: float = 0.02) -> tuple[int, int]:
    """How many pages another visitor got while an attack ran, who rests so many seconds after each.

    What decodes the attack's picture waits until five have come; how many came after that, as it decoded, is second.
    """
    pages = held = beside = 0
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(attack)
        while not running.done():
            busy, free = (decoding.busy, decoding.free.is_set()) if decoding else (False, False)
            assert httpx.get(f"{url}/gradio_api/app_id", timeout=PATIENCE).status_code == 200
            pages += not running.done()
            if busy and decoding.busy:
                held, beside = held + (not free), beside + free
            if held == 5:
                decoding.free.set()
            time.sleep(pause)
        running.result()
    return pages, beside


def test_long_paths_and_galleries_cost_nothing(url):
    climbing = {"path": "/" + "../" * 30_000}
    many = [[{"image": {"path": f"/{n}"}, "caption": None} for n in range(1500)], PROMPT, "tiny"]

    def attack() -> None:
        for _ in range(5):
            assert REFUSED in call(url, "judge", [climbing, PROMPT, "tiny", False, None])
            assert "are allowed at a time" in call(url, "compare", many)

    start = time.process_time()
    pages, _ = pages_beside(url, attack, pause=0.2)
    assert pages > 0
    assert time.process_time() - start < 10
    assert httpx.post(f"{url}/gradio_api/call/judge", content=b"[" * 200_000).status_code == 413


def test_one_picture_named_often_takes_no_threads(url):
    path = upload(url, png())
    before = threading.active_count()
    for _ in range(3):
        call(url, "compare", [[{"image": {"path": path}, "caption": None}] * 32, PROMPT, "tiny"])
    assert threading.active_count() < before + 20


@pytest.mark.parametrize("name", ["x" * 65, "../x", "a b", 5, ["x"]])
def test_the_name_of_a_session_is_short(url, name):
    body = {"fn_index": 0, "data": [], "session_hash": name}
    assert httpx.post(f"{url}/gradio_api/queue/join", json=body).status_code == 400
    if isinstance(name, str) and "/" not in name:
        assert httpx.get(f"{url}/gradio_api/queue/data", params={"session_hash": name}).status_code == 400
        assert httpx.get(f"{url}/gradio_api/heartbeat/{name}").status_code == 400
        assert (
            httpx.post(f"{url}/gradio_api/upload", params={"upload_id": name}, files={"files": b""}).status_code == 400
        )


def test_many_small_files_and_made_up_cookies_do_not_fill_the_space(app, url):
    total, app.files.bytes.together = app.files.bytes.together, 5_000_000
    try:
        statuses = []
        for _ in range(6):
            form = [("files", (f"{n}.png", b"1")) for n in range(30)]
            cookie = {"cookie": f"{COOKIE}={'a' * 64}"}
            statuses.append(httpx.post(f"{url}/gradio_api/upload", files=form, headers=cookie).status_code)
        assert 429 in statuses
        many = httpx.post(f"{url}/gradio_api/upload", files=[("files", ("x.png", b"1"))] * 100)
        assert many.status_code in (413, 429), "too many for a form, or for the room that is left"
        assert app.files.bytes.sum <= 5_000_000
    finally:
        app.files.bytes.together = total


def test_an_upload_that_stands_still_claims_nothing_and_ends(app, url, monkeypatch):
    host, port = url.removeprefix("http://").split(":")
    head = "POST /gradio_api/upload HTTP/1.1\r\nHost: [::1]\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    before = app.files.bytes.sum
    for seconds in (PATIENCE, 0.5):
        monkeypatch.setattr("intake._STILL", seconds)
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as line:
            line.sendall(f"{head}Content-Length: 80000000\r\n\r\n--x".encode())
            if seconds == PATIENCE:
                assert eventually(lambda: len(app.files._rooms) == 1)
                assert app.files.bytes.sum - before < 1000
            else:
                assert line.recv(1000).startswith(b"HTTP/1.1 408 ")
        assert eventually(lambda: not app.files._rooms)


def test_slow_pictures_do_not_keep_others_waiting_for_theirs(url):
    slow, good = upload(url, slow_picture()), upload(url, png())
    gallery = [[{"image": {"path": slow}, "caption": None}] * 8, PROMPT, "tiny"]
    with ThreadPoolExecutor(2) as pool:
        attacks = [pool.submit(call, url, "compare", gallery) for _ in range(2)]
        assert "event:" in call(url, "judge", [{"path": good}, "", "tiny", False, None])
        assert not any(attack.done() for attack in attacks), "each takes longer than ten such calls"
        for attack in attacks:
            assert "takes too long" in attack.result()
