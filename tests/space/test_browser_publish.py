"""In a real browser: a form is stored, and then published."""

from __future__ import annotations

import pytest

from tests.loopback_hub import loopback
from tests.space.test_browser_annotate import aspects_of, enter, rate  # noqa: F401  enter is a fixture

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def space(desk, benchmark, tmp_path_factory):
    """A Space of this module's own, which publishes on a loopback Hub."""
    from annotation_store import AnnotationStore, FolderShelf
    from app import build, launch_options
    from publishing import HubRepository, Publisher

    folder = tmp_path_factory.mktemp("published")
    with loopback(folder / "hub") as hub:
        store = AnnotationStore(FolderShelf(folder / "disk"))
        publisher = Publisher(store, HubRepository("me/annotations", "hf_me", hub.endpoint), every=1.0)
        publisher.start()
        demo = build(desk, benchmark, store, publisher=publisher)
        _, url, _ = demo.launch(server_name="127.0.0.1", prevent_thread_lock=True, **launch_options())
        yield url.rstrip("/")
        publisher.close(5)
        demo.close()


def test_a_form_is_stored_and_then_published(enter):  # noqa: F811
    page = enter("ann")
    page.wait_for_selector("#save")
    rate(page, dict.fromkeys(aspects_of(page), 7))
    page.wait_for_selector("#told .tj-good:has-text('Stored: 1 of')")
    page.wait_for_selector("#kept :text('1 of yours stored, 1 published.')")
    assert "all published in the dataset me/annotations" in page.inner_text("#kept")
