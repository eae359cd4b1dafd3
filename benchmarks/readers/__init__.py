"""Quality and speed of readers, beside the plain libraries."""
