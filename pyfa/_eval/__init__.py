"""What keeping keys and values in a codec costs a language model."""
