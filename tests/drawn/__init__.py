"""Pictures of digits, and of none, drawn by program: what people give to mnist-predict."""
