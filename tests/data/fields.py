"""Small micrographs for tests: random structure, exposed to a known dose."""

import numpy as np


def field(seed, side=96, counts=4000.0):
    """Electron counts of a smooth random field, uint16; another seed is another field."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0.3, 1.7, (side // 8 + 2, side // 8 + 2))
    smooth = np.kron(coarse, np.ones((8, 8)))[:side, :side]
    return rng.poisson(smooth / smooth.mean() * counts).astype(np.uint16)


def write_fields(folder, names, **options):
    """Write one field per name, each of its own seed."""
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, field(seed, **options))
