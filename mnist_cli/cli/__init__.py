"""The command line: options to configs, events to renderers, errors to exit codes."""
