"""What people read: terminal, pages, figures, log files."""
