"""Events and feedback are kept for so many days, and deleted then."""

import logging
import threading
import time
from typing import TYPE_CHECKING

from tunelane_serving.errors import TunelaneError, first_line

if TYPE_CHECKING:
    from tunelane_serving.database.database import Database

_log = logging.getLogger(__name__)

_DAY_S = 24 * 3600.0
# The first look comes when the start is over.
_FIRST_AFTER_S = 300.0
_PERIOD_S = 3600.0


class Retention:
    """Deletes what is older than `keep_days`, once an hour. Several instances may do so at once."""

    def __init__(self, database: "Database", *, keep_days: int) -> None:
        self._database = database
        self._keep_s = keep_days * _DAY_S
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="retention", daemon=True)

    def start(self) -> None:
        """Work in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Delete no more; a step under way ends with the process, or is rolled back."""
        self._stopped.set()

    def delete(self) -> None:
        """Delete what is too old now; where that fails, whatever the reason, the next time will do."""
        from tunelane_serving.monitoring.deleting import delete_events_before

        try:
            deleted = delete_events_before(self._database, time.time() - self._keep_s)
        except Exception as error:
            expected = isinstance(error, TunelaneError)
            _log.warning("old events were not deleted: %s", first_line(error), exc_info=None if expected else error)
            return
        if deleted:
            _log.info("deleted %d events older than %d days", deleted, self._keep_s // _DAY_S)

    def _work(self) -> None:
        wait_s = _FIRST_AFTER_S
        while not self._stopped.wait(wait_s):
            self.delete()
            wait_s = _PERIOD_S
