"""The method on arrays: no network, no file. The paper's equations are here."""
