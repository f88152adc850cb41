"""Text models behind one interface: transformers in process, or any OpenAI-compatible endpoint."""

from __future__ import annotations

from pathlib import Path

from core.errors import ConfigurationError, TextModelUnavailable
from core.progress import Reporter
from core.settings import Settings
from models.text.endpoint import EndpointGenerator
from models.text.generator import TextGenerator
from models.text.local import LocalGenerator, convert_gguf


def open_generator(settings: Settings, reporter: Reporter) -> TextGenerator:
    """The text model that the settings name.

    `text_endpoint` with `text_model` as the model's name there; else `text_model` as a directory that transformers
    loads, or as a GGUF file, which is converted once. Raises ConfigurationError when a setting is wrong,
    TextModelUnavailable when no model is named or it cannot be loaded.
    """
    if settings.text_model is None:
        if settings.text_endpoint is not None:
            raise ConfigurationError(
                "HEADWATER_TEXT_ENDPOINT is set: name the model it serves with HEADWATER_TEXT_MODEL"
            )
        raise TextModelUnavailable(
            "no text model: run `headwater demo`, which fetches a small one, or set HEADWATER_TEXT_MODEL to a model "
            "directory, or HEADWATER_TEXT_ENDPOINT to an OpenAI-compatible server"
        )
    if settings.text_endpoint is not None:
        return EndpointGenerator(settings.text_endpoint, settings.text_model, settings.text_api_key)
    directory = Path(settings.text_model)
    if directory.suffix == ".gguf":
        directory = convert_gguf(directory, settings.home / "text-models" / directory.stem, reporter)
    with reporter.task("loading the text model", 1) as task:
        generator = LocalGenerator(directory, settings.device)
        task.advance(1, generator.name)
    return generator
