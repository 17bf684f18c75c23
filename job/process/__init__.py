"""The process: log, standard streams, signals, termination message, scratch folder."""
