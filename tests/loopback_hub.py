"""A Hub on loopback to which the client of this process talks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from recipes.loopback.hub.server import Running, start

USERS = {"hf_me": "me", "hf_other": "other", "hf_read": "me"}


@contextmanager
def loopback(root: Path, xet: bool = False, lacks: dict[str, int] | None = None) -> Iterator[Running]:
    """A Hub to which huggingface_hub of this process talks; nobody waits between tries."""
    found = start(root, users=USERS, orgs={"team": ["me"]}, xet=xet, lacks=lacks)
    found.hub.readers.add("hf_read")
    with client_of(found.endpoint, xet):
        yield found
    found.stop()


@contextmanager
def client_of(endpoint: str, xet: bool = False) -> Iterator[None]:
    """huggingface_hub of this process talks to that Hub."""
    import huggingface_hub
    from huggingface_hub import constants

    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants._HF_DEFAULT_ENDPOINT, endpoint)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", endpoint)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(constants, "HF_HUB_DISABLE_XET", not xet)
        patch.setattr("transformers.utils.hub._hf_api", None)  # it remembers the Hub of whoever asked first
        patch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda seconds: None))
        huggingface_hub.utils.disable_progress_bars()
        huggingface_hub.close_session()
        yield
    huggingface_hub.close_session()
