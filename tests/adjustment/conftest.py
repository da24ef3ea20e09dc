import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="session")
def people():
    """Sixty subjects of three sites; age differs between the sites."""
    rng = np.random.default_rng(0)
    site = np.repeat(["north", "south", "west"], [24, 20, 16])
    return pd.DataFrame(
        {
            "age": rng.uniform(20, 60, 60) + 5 * (site == "south"),
            "sex": rng.choice(["F", "M"], 60),
            "site": site,
            "diagnosis": rng.choice(["control", "patient"], 60),
            "tiv": rng.normal(1500, 120, 60),
            "scan code": np.tile([1, 2, 3, 4], 15),
        },
        index=[f"sub-{number:02d}" for number in range(1, 61)],
    )
