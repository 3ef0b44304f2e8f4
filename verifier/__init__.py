"""The third party's program: recomputes a statement from files alone, with no database, no secret and no network."""
