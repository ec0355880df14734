"""The revisions of a hub repository that a pattern such as ``step*`` matches."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from math import inf

from coupling.analyses.sweep.steps import step_of
from coupling.errors import CouplingError, one_line
from coupling.models.folder import on_hub
from coupling.untrusted import clean, quoted

WILDCARDS = "*?["
"""Characters that make a name a pattern, as in a shell."""


def is_pattern(name: str) -> bool:
    """Whether a name contains a wildcard."""
    return any(character in name for character in WILDCARDS)


def matching_revisions(model: str, patterns: Sequence[str]) -> list[str]:
    """The names and the matches of patterns, in order of their training steps.

    Args:
        model: a hub id.
        patterns: names of revisions, which are taken as they are, and patterns, which the hub is asked about.

    Raises:
        CouplingError: if the hub cannot be reached, does not know the model, or no revision matches a pattern.

    Example:
        >>> matching_revisions("EleutherAI/pythia-160m", ["step512", "step1"])
        ['step1', 'step512']
    """
    names = [name for name in patterns if not is_pattern(name)]
    wanted = [pattern for pattern in patterns if is_pattern(pattern)]
    if wanted:
        known = _revisions_on_hub(model, wanted[0])
        for pattern in wanted:
            matches = [name for name in known if fnmatchcase(name, pattern)]
            if not matches:
                some = ", ".join(known[:5]) + (", ..." if len(known) > 5 else "")
                raise CouplingError(
                    f"no revision of {clean(model, 200)} matches {quoted(pattern)}; it has {some or 'none'}"
                )
            names += matches
    return sorted(dict.fromkeys(names), key=in_order_of_steps)


def in_order_of_steps(name: str) -> tuple[float, str]:
    """A key that sorts names by their training step; names without a step come last."""
    step = step_of(name)
    return (inf if step is None else step, name)


def _revisions_on_hub(model: str, pattern: str) -> list[str]:
    """The branches and tags of a repository."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    name = clean(model, 200)
    try:
        refs = HfApi().list_repo_refs(on_hub(model)[0])
    except RepositoryNotFoundError:
        raise CouplingError(f"the hub has no repository {name} (or it needs a login: hf auth login)") from None
    except HFValidationError as error:
        raise CouplingError(f"{quoted(model)} is not a hub id: {one_line(error)}") from None
    except HfHubHTTPError as error:
        raise CouplingError(f"the hub cannot list the revisions of {name}: {one_line(error)}") from None
    except Exception:  # offline mode, and what the connection raises, which depends on the HTTP library
        raise CouplingError(
            f"the Hugging Face hub cannot be reached, so the revisions {quoted(pattern)} of {name} cannot be listed; "
            "name them one by one, such as step1,step512"
        ) from None
    return [ref.name for ref in (*refs.branches, *refs.tags)]
