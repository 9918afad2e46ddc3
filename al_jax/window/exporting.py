"""What a person takes out of a session."""

from collections.abc import Sequence

from al_jax.exchange.formats import check_formats
from al_jax.exchange.session_export import Exported, describe, export_session
from al_jax.plotting.session_report import write_report
from al_jax.window.shown import Shown


class Exporting(Shown):
    """The part of a `Controller` that writes files. It may raise InputError, which `do` says."""

    def export(self, out: str, formats: Sequence[str]) -> None:
        """Writes the session as it is now into a folder; see `export_session`."""
        check_formats(formats)

        def done(found: Exported) -> None:
            self.message = describe(found)

        self._work(
            "writing the export",
            lambda: export_session(self.session, out or None, formats, write_report),
            done,
        )
