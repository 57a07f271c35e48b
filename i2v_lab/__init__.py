"""A laboratory in JupyterLab for taking image-to-video models apart, extending them, and seeing which extension did what"""

import os

import lazy_loader

# Before torch comes: it would warn of memory that is older than the step that a memory probe looks at.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
# And its threads would spin while they wait for one another, which takes the cores from whoever they wait for on a busy
# machine: `tests/bench/busy.py` measures it.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__version__ = "0.1.0"

_NAMES = {
    "core.actions": ["Action"],
    "core.clip": ["Clip"],
    "core.errors": ["InputError"],
    "core.picture": ["load_picture"],
    "extensions.conformance": ["check_extension"],
    "forecasting.forecast": ["forecast"],
    "pipeline.backends": ["load_pipeline"],
    "pipeline.extension": ["Extension", "ExtensionOptions"],
    "pipeline.mix": ["Mix"],
    "pipeline.probe": ["Probe", "Trace", "watch"],
    "pipeline.registry": ["extension_names", "list_extensions", "register"],
    "pipeline.stages": ["Stopped"],
    "probes.conformance": ["check_probe"],
    "probes.guidance": ["response"],
    "study.judge": ["judge"],
    "study.track": ["judge_taught", "read_track"],
    "training.teach": ["load_taught"],
    "views.draw": ["DrawPlan"],
    "views.study_panel": ["Study", "StudyPanel"],
    "views.panel": ["Lab"],
    "views.teach": ["Taught", "teach"],
}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_NAMES)
