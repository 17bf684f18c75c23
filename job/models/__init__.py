"""The networks that can be trained, one per file, and the layers in front of them."""
