"""Predictions over millions of pictures, into parquet files: resumable, on one host or on many."""
