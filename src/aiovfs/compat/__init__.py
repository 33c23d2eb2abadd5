"""Other projects' interfaces on ours: `pyfuse3`. Each uses public names of the lower layers only."""
