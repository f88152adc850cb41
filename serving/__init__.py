"""The HTTP API, the candidate pipeline, the live swap of models, and the web console. Read pipeline.py first."""
