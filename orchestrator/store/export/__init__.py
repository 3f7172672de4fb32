"""Exports a sweep as Parquet or CSV tables, or as TensorBoard event files."""
