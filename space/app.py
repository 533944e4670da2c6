"""The demo: judge pictures, look inside a benchmark, annotate. `python app.py` starts it and prints its URL."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from annotate_tab import build_annotate_tab
from annotation_store import AnnotationStore, FolderShelf
from benchmark import Benchmark, read_benchmark
from boards import Boards
from components import html
from examples import of_benchmark, of_scenes
from explore_tab import build_explore_tab
from guard import GuardedBlocks, RequestGuard, caller_of
from judge_tab import build_judge_tab
from judging import JudgeDesk
from leaderboard_tab import build_leaderboard_tab
from limits import CALLS, SESSIONS, UPLOAD
from links import OF_THE_PAGE, open_by_address, write
from opening import opening
from publishing import HubRepository, Publisher
from raters import Marks, key_of
from settings import HERE, JUDGED, Settings, read_settings
from t2i_judge.errors import UserError
from t2i_judge.terminal import NORMAL, VERBOSITY, say, settle
from uploads import OF_A_PHONE, prepare

TITLE = "t2i-judge: how good is this picture for this prompt?"
_FIRST_SECONDS = 15.0  # for the judge alone: a small one is there then, and imports do not keep visitors waiting
_HOUR = 3600  # uploads are deleted after it


def build(
    desk: JudgeDesk,
    benchmark: Benchmark | None,
    store: AnnotationStore,
    reason: str = "",
    line: str = "",
    publisher: Publisher | None = None,
    runs: Sequence[str] = (),
    selftests: Sequence[Mapping[str, Any]] = (),
) -> gr.Blocks:
    """The whole page. `reason` says why there is no benchmark, `line` why it opens with another judge than the
    release's.

    `runs`: folders of `t2i-judge leaderboard`. `selftests`: of the release's judges.
    """
    if benchmark is None or desk.default == desk.embedded:  # which takes nothing but scenes
        examples = of_scenes()
    else:
        examples = of_benchmark(benchmark)
    demo = GuardedBlocks(title=TITLE, analytics_enabled=False, delete_cache=(_HOUR, _HOUR))

    def leave(request: gr.Request) -> None:
        demo.files.leave(caller_of(request))

    with demo:
        html(
            '<header class="tj-header"><h1>t2i-judge</h1><p>How good is this picture for this prompt? '
            "<span>Small questions, answered one by one, from 0 to 10.</span></p></header>"
        )
        with gr.Tabs(overflow_behavior="wrap"):  # a menu measures its tabs once, at times before the style is there
            with gr.Tab("Judge", id="judge") as judging:
                build_judge_tab(desk, demo.files, examples, line, selftests)
            with gr.Tab("Explore", id="explore") as exploring:
                build_explore_tab(benchmark, exploring, desk.default, reason)
            with gr.Tab("Leaderboard", id="leaderboard") as leading:
                build_leaderboard_tab(Boards(benchmark, runs), leading)
            with gr.Tab("Annotate", id="annotate") as annotating:
                build_annotate_tab(benchmark, store, reason, publisher)
        judging.select(**write("judge"))
        annotating.select(**write("annotate"))
        open_by_address(demo)
        demo.load(js=OF_A_PHONE, **OF_THE_PAGE)
        demo.unload(leave)
    demo.share_examples()
    return demo.queue(default_concurrency_limit=None, api_open=False)  # all calls come by the queue, which bounds them


def launch_options() -> dict[str, Any]:
    """Arguments of `launch` that keep a public Space safe and good to look at."""
    return {
        "theme": gr.themes.Base(
            primary_hue="teal",
            neutral_hue="slate",
            radius_size="md",
            font=["system-ui", "sans-serif"],
            font_mono=["ui-monospace", "monospace"],
        ).set(
            button_primary_background_fill="*primary_700",
            button_primary_background_fill_dark="*primary_700",
            button_primary_background_fill_hover="*primary_800",
            button_primary_background_fill_hover_dark="*primary_800",
            body_text_color_subdued="*neutral_600",
        ),
        "css_paths": Path(__file__).parent / "style.css",
        "max_file_size": UPLOAD.bytes,
        "max_threads": CALLS,
        "state_session_capacity": SESSIONS,
        "app_kwargs": {"middleware": [Middleware(RequestGuard)]},
        "run_history": False,  # it would keep what visitors typed
        "show_error": False,  # what visitors are told is raised as gr.Error; the rest is nobody's business
        "ssr_mode": False,
        "footer_links": ["api"],
        "enable_monitoring": False,
        "mcp_server": False,
        "share": False,
        "quiet": True,
    }


def open_store(settings: Settings) -> tuple[AnnotationStore, Publisher | None]:
    """Annotations in a local folder, and the publisher for the owner's dataset repository, if there is one."""
    marks = Marks(key_of(settings.token, settings.annotations))
    store = AnnotationStore(FolderShelf(settings.annotations), marks)
    if not settings.annotations_repo:
        return store, None
    return store, Publisher(store, HubRepository(settings.annotations_repo, settings.token))


def open_benchmark(settings: Settings) -> tuple[Benchmark | None, str]:
    """The benchmark, or None and the one line that says why."""
    if settings.benchmark is None:
        return None, "There is no benchmark here yet. Run make release, or set BENCHMARK to a folder or a Hub id."
    try:
        return read_benchmark(settings.benchmark, HERE / JUDGED), ""
    except UserError as error:
        return None, str(error)


def main() -> int:
    """Start the Space and print its URL as the last line. Returns 2 if it cannot start."""
    settle(os.environ.get(VERBOSITY, NORMAL))  # libraries print errors only, as in every command
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: threads that spin starve the web server
    from t2i_judge.judges.loading import load_judge

    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would write every address that is called
    try:
        settings = read_settings()
        chosen = opening(settings)
        desk = JudgeDesk(chosen.judges, load_judge, chosen.default, chosen.progress, settings.max_cost)
        store, publisher = open_store(settings)
    except UserError as error:
        say(f"t2i-judge Space: {error}", file=sys.stderr)
        return 2
    benchmark, reason = open_benchmark(settings)  # before libraries are imported beside it, in the judge's thread
    desk.start(chosen.default, _FIRST_SECONDS)
    prepare()
    with suppress(ImportError):
        import matplotlib.pyplot  # noqa: F401  # gradio does so in the first call, while everybody waits
    if publisher:
        publisher.start()
    demo = build(desk, benchmark, store, reason, chosen.notice, publisher, settings.runs, settings.selftests)
    _, url, _ = demo.launch(
        server_name=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"),  # the Hub sets 0.0.0.0
        server_port=settings.port,
        prevent_thread_lock=True,
        **launch_options(),
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that what is to be done at exit is done
    say(f"t2i-judge Space: {url.rstrip('/')}", flush=True)
    try:
        demo.block_thread()
    finally:
        if publisher:
            publisher.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
