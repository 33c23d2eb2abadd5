"""Other projects' interfaces on ours; each module uses public names of lower layers only. None is here yet."""
