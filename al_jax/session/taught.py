"""What a session teaches the next one."""

from al_jax.core.stack import InputError
from al_jax.learner.transfer import Experience, experience_of
from al_jax.session.session import Session


def taught(session: Session) -> Experience:
    """Weights, outlines and Dice by class name, for `session.create` of another stack.

    Raises:
      InputError: its network has not learnt anything yet.
    """
    with session._lock:
        now, network = session.annotations, session.network
    if not network.draws or network.learner is None:
        raise InputError(f"{session.folder}: its network has learnt nothing yet; train it first")
    config = session.settings.config
    return experience_of(
        now.state,
        network.learner,
        session.images.names,
        config.network,
        config.training.convention,
        network.reduction,
    )
