"""Is healing worth having? Every scenario under every way labels come, against doing nothing."""
