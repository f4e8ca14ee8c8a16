"""Output for people and programs: terminal, JSON Lines, web pages, figures, log files."""
