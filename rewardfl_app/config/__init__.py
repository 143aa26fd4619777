"""The typed configuration: every parameter, declared once."""
