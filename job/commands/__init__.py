"""The commands of `mlp-job`: a file each, which registers itself; a folder where it has more."""
