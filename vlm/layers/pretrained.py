"""Pretrained models in Hugging Face format, by folder or hub id: their architecture as plain data, and their weights.

Only safetensors are read, and no remote code is run. Missing weights are an error; they are not initialized at random.
"""

from typing import Any, TypeVar

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from vlm.config import BaseWeights
from vlm.schema.strict_json import did_you_mean

Model = TypeVar("Model", bound=PreTrainedModel)

_NOT_ARCHITECTURE = {"transformers_version", "architectures", "dtype"}


def read_architecture(base: BaseWeights) -> dict[str, Any]:
    """The configuration with its `model_type`, for EncoderConfig and DecoderConfig.

    For a model of images and text, this is the configuration of its vision part.

    Raises:
        ValueError: it cannot be read.
    """
    config = _read_config(base)
    known = type(config)().to_dict().keys() - _NOT_ARCHITECTURE
    return {key: value for key, value in config.to_diff_dict().items() if key in known}


def build_config(architecture: dict[str, Any]) -> PreTrainedConfig:
    """The transformers configuration that `architecture` describes.

    Raises:
        ValueError: the `model_type`, a key or a value is unknown.
    """
    model_type = architecture.get("model_type")
    if model_type not in CONFIG_MAPPING:
        raise ValueError(f"architecture: model_type {model_type!r} is unknown to transformers")
    config_class = CONFIG_MAPPING[model_type]
    known = config_class().to_dict()
    for key in architecture:
        if key not in known:
            raise ValueError(f"architecture of a {model_type}: unknown key {key!r}{did_you_mean(key, known)}")
    try:
        return config_class(**{key: value for key, value in architecture.items() if key != "model_type"})
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise ValueError(f"architecture of a {model_type}: {error}") from error


def load_pretrained(
    model_class: type[Model], base: BaseWeights, *, config: PreTrainedConfig | None = None, **options: Any
) -> Model:
    """The model with the pretrained weights in float32; `options` go to its constructor.

    With `config` it may have fewer layers than the weights; those of the other layers are not used.

    Raises:
        ValueError: there are no safetensors, they cannot be read, or a weight is missing.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # transformers would print a table of the weights that are not used
    try:
        model, loading = model_class.from_pretrained(
            base.name,
            config=config or _read_config(base),
            revision=base.revision,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"the weights of {base.name!r} cannot be read: {error}") from error
    finally:
        logging.set_verbosity(verbosity)
    if loading["missing_keys"]:
        missing = sorted(loading["missing_keys"])
        raise ValueError(f"the weights of {base.name!r} lack {missing[0]!r} ({len(missing)} missing)")
    return model


def _read_config(base: BaseWeights) -> PreTrainedConfig:
    try:
        config = AutoConfig.from_pretrained(base.name, revision=base.revision, trust_remote_code=False)
    except (OSError, ValueError, StrictDataclassError) as error:
        raise ValueError(f"no model can be read from {base.name!r}: {error}") from error
    return getattr(config, "vision_config", config)
