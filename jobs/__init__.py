"""Work that is not a request: train, evaluate, publish, generate, maintain; and the schedule that runs it."""
