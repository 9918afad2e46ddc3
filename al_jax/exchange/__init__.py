"""A session's questions, answers and results as files of other tools."""
