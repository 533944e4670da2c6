"""Pushes a staged release: one repository after the other, then the tags, then the Collection, which marks the end.

The Hub is compared first, so that only differences are sent and a second run sends nothing. An interrupted push is
simply run again. Commits name their parent, so nobody's commit is ever overwritten.
"""

from __future__ import annotations

import glob
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipes.hub.client import AGAIN, TRIES, Hub, NotOffered, explain, failures, is_transient, status_of
from recipes.hub.repositories import Repository, recorded_repositories
from recipes.publish.collections import Collections
from recipes.publish.manifest import read_manifest
from recipes.publish.push_plan import Plan, plan
from recipes.publish.standing import going_out, is_later, left_alone, standing
from recipes.recipe.config import Recipe
from recipes.recipe.markers import file_table
from t2i_judge import terminal
from t2i_judge.errors import UserError


@dataclass
class Push:
    """One push of a staged release.

    Attributes:
        recipe, stage: what is pushed.
        namespace, token: where to push, and the token for it.
        tag: vX.Y.Z; RECIPE-vX.Y.Z in repositories that recipes share.
        private: create repositories private. An existing private one stays private.
        create_pr: open pull requests, without tags and Collection.
        say: prints messages.
    """

    recipe: Recipe
    stage: Path
    namespace: str
    tag: str
    token: str | None = field(repr=False)
    private: bool = False
    create_pr: bool = False
    say: Callable[[str], None] = terminal.say
    sleep: Callable[[float], None] = time.sleep
    skipped: list[Repository] = field(default_factory=list)
    without_tags: bool = False

    def run(self, parts: tuple[str, ...]) -> tuple[Repository, ...]:
        """Push the repositories of these parts. Returns those that arrived.

        Raises:
            UserError: a push was refused or failed; one line names repository, file and fix. What has arrived stays.
        """
        self.hub = Hub(self.namespace, self.token, self.sleep)
        self.manifest = read_manifest(self.stage)
        self.names, release = recorded_repositories(self.manifest["record"]), self.manifest["record"]["release"]
        if not self.create_pr:  # anybody may open a pull request
            self.hub.account()
        chosen, owner = going_out(self.hub, self.names, release, parts)
        if owner and {"metric", "space"} & set(parts):
            self.say(f"  {left_alone(self.hub, self.names, release, owner)}")
        for repository in chosen:
            self._check_tag(repository)
            self._check_version(repository, release)
        heads = {repository: head for repository in chosen if (head := self._send(repository)) is not None}
        if not self.create_pr:
            bare = [f"{r.url(self.namespace)}@{head[:8]}" for r, head in heads.items() if not self._tag(r, head)]
            if bare:
                self.say(
                    f"  This Hub does not support tags: the release is identified by its commits, {', '.join(bare)}."
                )
            self._collect(owner)
        return tuple(heads)

    def _tags(self, repository: Repository) -> dict[str, str] | None:
        """Tag -> commit; None where this Hub does not tell, which is said once."""
        if not self.without_tags:
            try:
                return self.hub.tags(repository)
            except NotOffered:
                self.without_tags = True
                self.say("  This Hub does not list tags: it is not checked whether this version was released before.")
        return None

    def _check_tag(self, repository: Repository) -> None:
        """A version that is out stays as it is: its tag must not name other files than these."""
        if self.hub.info(repository) is None or not (tags := self._tags(repository)):
            return
        tag = repository.tag(self.tag)
        if tag in tags and not plan(self.hub, repository, repository.folder(self.stage), tags[tag]).empty:
            raise UserError(
                f"{repository.id(self.namespace)} already has a release {tag} with other files",
                "A tag that people use must not move",
                "Use a higher VERSION",
            )

    def _check_version(self, repository: Repository, release: Mapping[str, Any]) -> None:
        """Main, which is what is loaded without a version, never goes back to an older one of the same recipe."""
        there = standing(self.hub, repository)
        if there and there.recipe == release["recipe"] and is_later(there.version, release["version"]):
            raise UserError(
                f"{repository.id(self.namespace)} already has the release {there.version}",
                f"With {release['version']}, whoever asks for no version would get an older one",
                "Use a higher VERSION",
            )

    def _send(self, repository: Repository) -> str | None:
        """Bring one repository up to date; returns its head, None when it was left out for want of payment."""
        name = repository.id(self.namespace)
        if not self._create(repository):
            return None
        for attempt in range(1, TRIES + 1):
            changes = self._plan(repository)
            if changes.empty:
                self.say(f"  {repository.url(self.namespace)}: up to date")
                return changes.head
            self._as_written(repository)
            error = self._upload(changes)
            if error is None:
                return self._arrived(repository)
            if status_of(error) == 412:
                if self._plan(repository).empty:
                    continue
                raise explain(error, name, "commit to") from error
            busy = status_of(error) == 409  # another commit is under way; ours still names its parent
            if attempt == TRIES or not (busy or is_transient(error)):
                raise self._named(error, changes) from error
            self.hub.wait(attempt, error)
        raise UserError(f"Cannot bring {name} up to date", "Its files change while they are compared", AGAIN)

    def _create(self, repository: Repository) -> bool:
        """Make sure that the repository is there and ours to fill; False for a Space that must be paid for."""
        name = repository.id(self.namespace)
        if self.hub.info(repository) is None:
            try:
                self._make(repository)
            except UserError as error:
                if repository.sdk != "gradio" or status_of(error.__cause__ or error) != 402:
                    raise
                self.skipped.append(repository)
                self.say(f"  {repository.url(self.namespace)}: left out. {error} The rest of the release goes on.")
                return False
        info = self.hub.info(repository)
        if self.private and info is not None and not info.private:
            raise UserError(f"{name} is public", "PRIVATE=1 asks for a private release", "Make it private on the Hub")
        if info is not None and info.private and not self.private:
            self.say(
                f"  {repository.url(self.namespace)}: private on the Hub, and stays private (PRIVATE=1 is not set)"
            )
        there = getattr(info, "sdk", None)
        if repository.sdk and there not in (None, repository.sdk):
            raise UserError(
                f"{name} is a {there} Space, not a {repository.sdk} one",
                "It has the name that this release needs",
                "Rename it",
            )
        return True

    def _make(self, repository: Repository) -> None:
        name, kind = repository.id(self.namespace), repository.kind
        made = self.hub.call(
            name, "create", self.hub.api.create_repo, name,
            repo_type=kind, private=self.private or None, space_sdk=repository.sdk, exist_ok=True,
        )  # fmt: skip
        if made.repo_type != kind:
            raise UserError(
                f"{name} is a {made.repo_type}, not a {kind}", "It has the name that this release needs", "Rename it"
            )

    def _plan(self, repository: Repository) -> Plan:
        """The plan against what is written to: main, or our own open pull request (begun before, and interrupted)."""
        folder = repository.folder(self.stage)
        steps = plan(self.hub, repository, folder)
        if self.create_pr and not steps.empty and (ref := self._open_request(repository)):
            return plan(self.hub, repository, folder, ref)
        return steps

    def _open_request(self, repository: Repository) -> str | None:
        """Ref of our open pull request of this release; one of that title by somebody else is left alone."""
        name = repository.id(self.namespace)

        def ask() -> list[Any]:
            return list(
                self.hub.api.get_repo_discussions(name, repo_type=repository.kind, discussion_type="pull_request")
            )

        me = self.hub.call(self.namespace, "log in for", self.hub.api.whoami)["name"]
        try:
            requests = self.hub.call(name, "list the pull requests of", ask)
        except NotOffered as error:
            raise UserError(
                "This Hub does not support pull requests", "CREATE_PR=1 opens them", "Leave out CREATE_PR=1"
            ) from error
        mine = (d for d in requests if (d.title, d.author) == (self._message, me) and d.status in ("open", "draft"))
        return next((d.git_reference for d in mine), None)

    @property
    def _message(self) -> str:
        return f"Release {self.tag}"

    def _upload(self, changes: Plan) -> BaseException | None:
        """Send what differs in one `upload_folder`; returns what went wrong instead of raising it."""
        repository, name = changes.repository, changes.repository.id(self.namespace)
        self.say(
            f"  {repository.url(self.namespace)}: {len(changes.added)} new, {len(changes.changed)} changed, "
            f"{len(changes.deleted)} deleted, {changes.size:,} bytes"
        )
        opening = self.create_pr and changes.revision is None
        try:
            commit = self.hub.api.upload_folder(
                repo_id=name,
                repo_type=repository.kind,
                folder_path=repository.folder(self.stage),
                allow_patterns=[glob.escape(path) for path in (*changes.added, *changes.changed)],
                delete_patterns=[glob.escape(path) for path in changes.deleted] or None,
                commit_message=self._message,
                revision=changes.revision,
                create_pr=opening,
                parent_commit=None if opening else changes.head,
            )
        except failures() as error:
            return error
        if commit.pr_url:
            self.say(f"  {commit.pr_url} (publish it there if it is a draft)")
        return None

    def _as_written(self, repository: Repository) -> None:
        """Raise `UserError` unless the files are those of the manifest: nothing unchecked is ever sent."""
        folder = repository.folder(self.stage)
        prefix = folder.relative_to(self.stage).as_posix() + "/"
        entries = {path: entry for path, entry in self.manifest["files"].items() if path.startswith(prefix)}
        here = {prefix + path: entry for path, entry in file_table(folder).items()}
        for path in sorted(entries.keys() | here.keys()):
            if entries.get(path) != here.get(path):
                raise UserError(f"{path} is not what the manifest says", "It was changed", "Run make release again")

    def _arrived(self, repository: Repository) -> str | None:
        """The head after an upload. Raises `UserError` when a file arrived other than it was checked."""
        self._as_written(repository)
        changes = self._plan(repository)
        if not changes.empty:
            wrong = ", ".join((*changes.added, *changes.changed, *changes.deleted)[:5])
            raise UserError(
                f"{repository.id(self.namespace)}: {wrong} arrived with other hashes",
                "The files were changed during the upload",
                AGAIN,
            )
        return changes.head

    def _named(self, error: BaseException, changes: Plan) -> UserError:
        """The one line for a failed upload, with the file that it is about where that can be known."""
        name, text = changes.repository.id(self.namespace), str(error)
        files = (*changes.added, *changes.changed)
        file = next((path for path in sorted(files, key=len, reverse=True) if path in text), None)
        if file is None and ("metadata" in text or "YAML" in text):
            file = "README.md"
        return explain(error, f"{file} of {name}" if file else name, "send")

    def _tag(self, repository: Repository, head: str) -> bool:
        """Tag a head unless that tag is there; False where the Hub keeps none."""
        name, tag, tags = repository.id(self.namespace), repository.tag(self.tag), self._tags(repository)
        if tag in (tags or ()):
            return True
        try:
            self.hub.call(
                name, f"tag {tag} on", self.hub.api.create_tag, name,
                tag=tag, tag_message=self._message, revision=head, repo_type=repository.kind, exist_ok=True,
            )  # fmt: skip
        except NotOffered:
            return False
        return True

    def _stands(self, repository: Repository) -> bool:
        """Whether this release is what its main branch has, on a Hub that does not list tags."""
        there, release = standing(self.hub, repository), self.manifest["record"]["release"]
        return there is not None and (there.recipe, there.version) == (release["recipe"], release["version"])

    def _collect(self, owner: str | None) -> None:
        """Put every repository into the release's Collection, once all of them are there at this version."""
        names = self.names
        order = (names.bench, names.distill, names.metric, names.demo, names.model)
        wanted = [r for r in order if r not in self.skipped and not (owner and r.shared)]
        for repository in wanted:
            tags, tag = self._tags(repository) if self.hub.info(repository) else {}, repository.tag(self.tag)
            if tag not in tags if tags is not None else not self._stands(repository):
                self.say(f"  {repository.id(self.namespace)} has no {tag} yet: the Collection is made later.")
                return
        left = [repository for repository in order if owner and repository.shared]
        try:
            slug = Collections(self.hub, self.private).bring(self.recipe.name, wanted, left, self._message)
        except NotOffered:
            self.say("  This Hub does not support Collections: the release is complete without one.")
        else:
            self.say(f"  Collection {slug}: {self._message} is complete")
