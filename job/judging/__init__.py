"""How good a model is: scored, compared with the champion, and let through the gate or not."""
