"""The files of a published version: the model, its data files, the report and the model card."""
