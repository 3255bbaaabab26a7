"""Tables of studies: CSV, JSON lines, Parquet and Hugging Face data sets read as rows."""
