"""`evaluate.load("t2i_judge")`: judges of text-to-image models as a metric. The library's `metric.py` computes it.

evaluate copies this file, and this file alone, into its cache; so it finds its library itself, in this order: an
installed `t2i_judge` of the same version; the folder that it was loaded from; its own Space at the tag of its release.
A library is imported under a name made of its content, so that two releases can live in one process.
"""

import hashlib
import importlib
import inspect
import json
import sys
from collections.abc import Iterator
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import evaluate
import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError

VERSION = "1.0.0"  # of the library
# A release stamps these (`recipes/publish/stage_spaces.py`): its own Space, tag and content, and the judge it carries.
REPOSITORY = None
TAG = None
TREE = None
JUDGE = "tiny"

# The library's requirements: the name that is imported -> the name that pip knows. Import lines would have evaluate
# check them, but it imports each to do so, torch too, and tells its reader to install `PIL`.
REQUIRED = {
    "numpy": "numpy",
    "scipy": "scipy",
    "PIL": "pillow",
    "yaml": "pyyaml",
    "tqdm": "tqdm",
    "filelock": "filelock",
    "jinja2": "jinja2",
    "plotly": "plotly",
    "safetensors": "safetensors",
    "huggingface_hub": "huggingface-hub",
    "datasets": "datasets",
    "evaluate": "evaluate",
    "openai": "openai",
    "torch": "torch",
    "transformers": "transformers",
    "peft": "peft",
}


def tree_hash(folder: Path) -> str:
    """SHA-256 over names and contents of a library's modules and weights, this script aside, which carries it."""
    whole = hashlib.sha256()
    paths = {*folder.rglob("*.py"), *(path for path in folder.glob("weights/**/*") if path.is_file())}
    for name in sorted(path.relative_to(folder).as_posix() for path in paths):
        if name != "t2i_judge.py":
            content = (folder / name).read_bytes()
            whole.update(f"{name}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()


def _library() -> ModuleType:
    """The library that belongs to this script. Raises ImportError with what is missing, or what to do."""
    if missing := [pip for name, pip in REQUIRED.items() if find_spec(name) is None]:
        raise ImportError(
            f"The metric t2i_judge needs what is not installed here: {', '.join(missing)}. "
            f"Install them with: pip install {' '.join(missing)}"
        )
    if (installed := _installed()) is not None:
        return installed
    for folder in _folders():
        if (folder / "metric.py").is_file() and (folder / "__init__.py").is_file() and _is_its_own(folder):
            return _imported(folder)
    return _imported(_downloaded())


def _installed() -> ModuleType | None:
    """The installed library, when it has this script's version."""
    try:
        package = importlib.import_module("t2i_judge")  # a copy of this script in the working directory is none
    except ImportError:
        return None
    return package if getattr(package, "__version__", None) == VERSION else None


def _folders() -> Iterator[Path]:
    """Where the library may stand: beside this script, or where evaluate copied the script from.

    That is what `evaluate.load` was called with, or, where the copy is imported again, what evaluate wrote down beside
    it, in a file whose path it cuts at the first ".py", which may stand further up: `~/.pyenv` -> `~/.json`.
    """
    script = Path(__file__)
    yield script.parent
    for frame in inspect.stack(context=0):
        if frame.function == "load" and frame.frame.f_globals.get("__name__") == "evaluate.loading":
            path = Path(frame.frame.f_locals["path"])
            yield path.absolute() if path.suffix != ".py" else path.absolute().parent
    record = Path(str(script).split(".py")[0] + ".json")
    if record.is_file():
        origin = json.loads(record.read_text(encoding="utf-8"))
        if Path(origin.get("local file path", "")) == script:
            yield Path(origin["original file path"]).absolute().parent


def _is_its_own(folder: Path) -> bool:
    """Whether a folder holds this script, or what it was released with.

    A name on the Hub, `OWNER/t2i_judge`, is a folder of the working directory, too, where anyone may have left code.
    """
    script = folder / "t2i_judge.py"
    if script.is_file() and script.read_bytes() == Path(__file__).read_bytes():
        return True
    return TREE is not None and tree_hash(folder) == TREE


def _downloaded() -> Path:
    """This release's own Space in the Hub's cache, its content checked before any of it runs."""
    if REPOSITORY is None:
        raise ImportError(
            "The metric t2i_judge cannot find its library. evaluate copied only the script, and the folder that it "
            "came from is unknown or no longer there. Install the package, or load a folder with the whole library."
        )
    for again in (False, True):  # a damaged download is replaced, once
        if tree_hash(folder := _snapshot(REPOSITORY, again)) == TREE:
            return folder
    raise ImportError(
        f"{REPOSITORY} at {TAG} differs from what this script was released with: its files have other hashes. "
        "The tag was moved. Load the metric again with download_mode='force_redownload', or use another revision."
    )


def _snapshot(repository: str, again: bool) -> Path:
    """The Space's files at the tag of this release, at main on a Hub that does not read by tags."""
    wanted: dict[str, Any] = {"repo_type": "space", "allow_patterns": ["*.py", "weights/*"], "force_download": again}
    try:
        return Path(huggingface_hub.snapshot_download(repository, revision=TAG, **wanted))
    except HfHubHTTPError:
        return Path(huggingface_hub.snapshot_download(repository, **wanted))


def _imported(folder: Path) -> ModuleType:
    """The library in a folder, under a name of its own."""
    name = f"t2i_judge_{tree_hash(folder)[:16]}"
    if name not in sys.modules or not Path(str(sys.modules[name].__file__)).is_file():  # a copy that is gone
        for module in [module for module in sys.modules if module.split(".")[0] == name]:
            del sys.modules[module]
        spec = spec_from_file_location(name, folder / "__init__.py", submodule_search_locations=[str(folder)])
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[name])
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


metric = importlib.import_module(f"{_library().__name__}.metric")


class T2iJudge(evaluate.Metric):
    """Configurations "default" (images and prompts) and "meta" (scores and human ratings)."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=metric.DESCRIPTION,
            citation=metric.CITATION,
            inputs_description=metric.INPUTS,
            features=metric.features(metric.check_config(self.config_name)),
        )

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """Add one image with its prompt, or one score with its ratings."""
        prediction = metric.as_prediction(self.config_name, prediction)
        super().add(prediction=prediction, reference=metric.as_reference(self.config_name, reference), **kwargs)

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """Add images with their prompts, or scores with their ratings."""
        predictions = metric.as_predictions(self.config_name, predictions)
        references = metric.as_references(self.config_name, references)
        super().add_batch(predictions=predictions, references=references, **kwargs)

    def _compute(self, predictions: Any, references: Any, **options: Any) -> dict[str, Any]:
        if self.config_name == "default":
            options.setdefault("judge", JUDGE)
        try:
            result: dict[str, Any] = metric.compute(self.config_name, predictions, references, **options)
            return result
        except BaseException:  # evaluate would keep a closed writer and its locks: the next call would fail
            self.writer = None
            for lock in self.filelocks or ():
                lock.release()
            raise
