"""From a deployed revision to the champion, and back where that fails. The registry decides, the deployment follows."""

from typing import NoReturn

from tunelane_components.deploy.interface import Deployer, Revision, SmokeReport, SmokeTestFailed
from tunelane_components.registry.interface import ChampionMoved, Registry
from tunelane_serving.errors import TunelaneError

# Each is a whole run that ended in these milliseconds.
_MOST_MOVES = 10


def smoke_or_roll_back(deployer: Deployer, revision: Revision) -> SmokeReport:
    """Smoke-test a deployed revision, and take it away where it fails.

    Raises:
        SmokeTestFailed: it does not answer as its package says it must; says so where it could not be taken away.
    """
    try:
        return deployer.smoke(revision)
    except SmokeTestFailed as error:
        _take_away(deployer, revision, error)
        raise


def confirm_champion(
    registry: Registry, deployer: Deployer, revision: Revision, *, expected_version: str | None
) -> None:
    """Make a smoke-tested revision champion and let it serve, if the champion still is `expected_version`.

    The registry's compare-and-set comes first: of two runs that race, one gets past it. A second try after one that was
    killed behind it does what is missing.

    Args:
        registry: who decides.
        deployer: who follows.
        revision: deployed and smoke-tested.
        expected_version: the version that the run was compared with; None for nobody.

    Raises:
        ChampionMoved: another run was faster with another package; the revision is taken away and nothing else was
            changed; says so where it could not be taken away.
        TunelaneError: the deployment could not follow; the message says who is champion now.
    """
    try:
        registry.move_champion(revision.model, expected=expected_version, to=revision.model_version)
    except ChampionMoved as error:
        champion = registry.champion(revision.model)
        if champion is None or champion.digest != revision.digest:
            _take_away(deployer, revision, error)
            raise
        # It is champion already: a first try was killed behind this step, or a faster run brought the same package.
        # That one may serve by now, so nothing is taken back where this fails.
        deployer.confirm(revision)
    else:
        try:
            deployer.confirm(revision)
        except (TunelaneError, OSError) as error:
            _take_back(registry, revision, expected_version, error)
    _let_successors_serve(registry, deployer, revision)


def _take_away(deployer: Deployer, revision: Revision, error: TunelaneError) -> None:
    """Take a revision away because of `error`, which is still what there is to mend where that fails, too."""
    try:
        deployer.roll_back(revision)
    except (TunelaneError, OSError) as second:
        said = f"{error} The revision could not be taken away, and gets no traffic ({second})."
        raise type(error)(said) from error


def _let_successors_serve(registry: Registry, deployer: Deployer, revision: Revision) -> None:
    """Where the champion was moved on while `revision` was put to serve, let that one serve.

    Without this, of two runs on two machines the slower could put its own to serve after the faster one's successor.
    Whoever writes last looks at the champion afterwards, so the last to serve is the last champion.
    """
    for _ in range(_MOST_MOVES):
        champion = registry.champion(revision.model)
        if champion is None or champion.digest == revision.digest:
            return
        revision = Revision(champion.name, champion.version, champion.digest)
        deployer.confirm(revision)


def _take_back(registry: Registry, revision: Revision, expected_version: str | None, error: Exception) -> NoReturn:
    """Move the champion back to who it was, and raise what to tell the user."""
    try:
        registry.move_champion(revision.model, expected=revision.model_version, to=expected_version)
        outcome = f"version {expected_version} is champion again" if expected_version else "there is no champion again"
    except ChampionMoved:
        outcome = "another run moved the champion meanwhile, which was left as it is"
    except (TunelaneError, OSError) as second:
        outcome = f"the registry still names it champion, since that could not be taken back ({second})"
    raise TunelaneError(
        f"Version {revision.model_version} of {revision.model!r} could not be put to serve ({error}); {outcome}. "
        "What served before keeps serving."
    ) from error
