"""Files of a data set: found, staged from S3, opened and identified."""
