"""Text models behind one interface: transformers in process, or any OpenAI-compatible endpoint."""
