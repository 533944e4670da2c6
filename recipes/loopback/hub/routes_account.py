"""Who is asking, and what can be asked without a repository."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from recipes.loopback.hub.cards import validate_card
from recipes.loopback.hub.repo import Err, now
from recipes.loopback.hub.server import route

if TYPE_CHECKING:
    from recipes.loopback.hub.server import Handler


@route("GET", "/api/whoami-v2")
def whoami(h: Handler) -> None:
    if not h.user:
        raise Err(401, "Invalid username or password.")
    mine = [name for name, members in h.hub.orgs.items() if h.user in members]
    role = "read" if h.token in h.hub.readers else "write"
    h.send(200, {
        "type": "user", "id": hashlib.md5(h.user.encode()).hexdigest()[:24], "name": h.user, "fullname": h.user,
        "email": f"{h.user}@localhost", "emailVerified": True, "canPay": False, "isPro": False, "periodEnd": None,
        "avatarUrl": "", "orgs": [{"type": "org", "name": name, "roleInOrg": "admin"} for name in mine],
        "auth": {"type": "access_token", "accessToken": {"displayName": "token", "role": role, "createdAt": now()}},
    })  # fmt: skip


@route("HEAD GET", "/api/telemetry/.*")
def telemetry(h: Handler) -> None:
    h.send(200, {})


@route("POST", "/api/validate-yaml")
def validate_yaml(h: Handler) -> None:
    asked = h.json()
    errors, warnings = validate_card(asked.get("content", ""), asked.get("repoType", "model"))
    h.send(400 if errors else 200, {"errors": errors, "warnings": warnings})
