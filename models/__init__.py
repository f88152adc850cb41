"""What is learned and how it is judged: recommenders, the vector index, text generators, metrics and protocols.

A new model is a file with the contract of models/recommender.py, a line here, and its line in tests/models/test_contract.py.
"""

from __future__ import annotations

from models.als import ALS
from models.popularity import Popularity
from models.recommender import Recommender
from models.transitions import Transitions

RECOMMENDERS: dict[str, type[Recommender]] = {model.name: model for model in (Popularity, Transitions, ALS)}
