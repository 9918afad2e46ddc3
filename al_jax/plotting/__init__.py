"""Pictures of a run and of a sweep, and the page of a report."""
