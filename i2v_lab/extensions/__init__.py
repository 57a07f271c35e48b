"""Extensions: what can be switched on around a pipeline, and what one's own is made of"""

import lazy_loader

_NAMES = {
    "extensions.conformance": ["check_extension"],
    "pipeline.extension": ["Extension", "ExtensionOptions"],
    "pipeline.mix": ["Mix"],
    "pipeline.registry": ["extension_names", "find_extension", "list_extensions", "register"],
}
__getattr__, __dir__, __all__ = lazy_loader.attach("i2v_lab", submod_attrs=_NAMES)
