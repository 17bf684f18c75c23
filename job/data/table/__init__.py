"""Tables: CSV and Parquet files → typed columns → a schema, a matrix and two sides."""
