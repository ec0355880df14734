r"""Measures of the residual stream that coupling is compared with: entropy, curvature, dimension, similarity of layers.

Pure functions of arrays. A layer is the matrix Z of its tokens, (n, d). They use the tokens of one prompt, so that they
are small samples: compare models on the same prompts.
"""

import numpy as np
from jaxtyping import Float

Layer = Float[np.ndarray, "n d"]


def prompt_entropy(layer: Layer) -> float:
    r"""How many directions a prompt's tokens spread over, as an entropy in nats; its exponential is an effective rank.

    .. math:: S = -\sum_i \lambda_i \ln \lambda_i, \qquad \lambda = \mathrm{eig}(Z Z^T / \mathrm{tr}(Z Z^T))

    Args:
        layer: the residual stream at the tokens of a prompt.

    Returns:
        Between 0 (all tokens on one line) and ln(min(n, d)), in nats.

    Source:
        Skean et al., *Layer by Layer: Uncovering Hidden Representations in Language Models*, 2025 (arXiv 2502.02013);
        the effective rank is that of Roy and Vetterli, 2007.

    Example:
        >>> import numpy as np
        >>> round(prompt_entropy(np.eye(4)), 6) == round(float(np.log(4)), 6)
        True
    """
    energy = np.linalg.svd(layer, compute_uv=False) ** 2
    share = energy[energy > 0] / energy.sum()
    return float(-(share * np.log(share)).sum())


def curvature(layer: Layer) -> float:
    r"""How sharply the path from token to token turns: the mean angle between successive steps, in radians.

    .. math:: \frac{1}{n - 2} \sum_k \arccos \frac{v_{k+1} \cdot v_k}{\|v_{k+1}\| \|v_k\|}, \qquad v_k = z_{k+1} - z_k

    Args:
        layer: the residual stream at the tokens of a prompt, in order.

    Returns:
        Between 0 (a straight line) and pi, in radians; NaN for fewer than three tokens.

    Source:
        Hosseini and Fedorenko, *Large language models implicitly learn to straighten neural sentence trajectories*,
        2023 (arXiv 2311.04930).

    Example:
        >>> import numpy as np
        >>> curvature(np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]))
        0.0
    """
    steps = np.diff(layer, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = (steps[1:] * steps[:-1]).sum(axis=1) / (lengths[1:] * lengths[:-1])
    known = cosines[np.isfinite(cosines)]
    return float(np.arccos(np.clip(known, -1, 1)).mean()) if len(known) else float("nan")


def intrinsic_dimension(points: Layer) -> float:
    r"""The dimension of the set that points lie on, from each one's two nearest neighbors at distances r1 < r2.

    .. math:: \hat d = (n - 1) / \sum_i \ln(r_{2,i} / r_{1,i})

    Args:
        points: the residual stream at the tokens of a prompt.

    Returns:
        At least 0, no unit; NaN for fewer than three different points. With few points it is far too low for high
        dimensions.

    Source:
        Facco, d'Errico, Rodriguez, Laio, *Estimating the intrinsic dimension of datasets by a minimal neighborhood
        information*, Scientific Reports 2017 (TwoNN); the factor n - 1 makes the estimate unbiased.
    """
    points = np.unique(points, axis=0)
    if len(points) < 3:
        return float("nan")
    squares = (points**2).sum(axis=1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * points @ points.T, 0))
    np.fill_diagonal(distances, np.inf)
    nearest = np.partition(distances, 1, axis=1)[:, :2]
    known = nearest[:, 0] > 0
    logarithms = np.log(nearest[known, 1] / nearest[known, 0])
    total = float(logarithms.sum())
    return (len(logarithms) - 1) / total if total > 0 else float("nan")


def linear_cka(first: Layer, second: Layer) -> float:
    r"""How similar two layers arrange the same tokens, up to rotation and scale.

    .. math:: \frac{\|Y^T X\|_F^2}{\|X^T X\|_F \|Y^T Y\|_F}

    with the mean over tokens taken out of both.

    Args:
        first: a layer.
        second: another, at the same tokens.

    Returns:
        Between 0 and 1, no unit; NaN where all tokens of a layer are equal.

    Source:
        Kornblith, Norouzi, Lee, Hinton, *Similarity of neural network representations revisited*, ICML 2019
        (arXiv 1905.00414).
    """
    x, y = (layer - layer.mean(axis=0) for layer in (first, second))
    gram_x, gram_y = x @ x.T, y @ y.T  # n x n: fewer tokens than dimensions
    with np.errstate(invalid="ignore", divide="ignore"):
        return float((gram_x * gram_y).sum() / (np.linalg.norm(gram_x) * np.linalg.norm(gram_y)))


def mean_cosine(first: Layer, second: Layer) -> float:
    """The mean over tokens of the cosine between the residual stream at two layers; no unit.

    Example:
        >>> import numpy as np
        >>> mean_cosine(np.eye(2), np.eye(2)[::-1])
        0.0
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = (first * second).sum(axis=1) / (np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1))
    known = cosines[np.isfinite(cosines)]
    return float(known.mean()) if len(known) else float("nan")
