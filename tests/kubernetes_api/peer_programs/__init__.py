"""What runs in the peers' own environment, on its own: nothing here imports anything of ours."""
