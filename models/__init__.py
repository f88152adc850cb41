"""What is learned and how it is judged: recommenders, the vector index, text generators, metrics and protocols.

A new model is a file with the contract of models/recommender.py, a line here, and its line in tests/models/test_contract.py.
"""

from __future__ import annotations

from models.als import ALS
from models.blend import Blend
from models.bpr import BPR
from models.content_similarity import ContentSimilarity
from models.graph import Graph
from models.linear import Linear
from models.popularity import Popularity
from models.recommender import Recommender
from models.repeat import Repeat
from models.sequence import Sequence
from models.transitions import Transitions
from models.vae import VAE

RECOMMENDERS: dict[str, type[Recommender]] = {
    model.name: model
    for model in (Popularity, Transitions, Linear, Graph, ContentSimilarity, Repeat, ALS, BPR, VAE, Sequence, Blend)
}
