"""Many ranks: that they train as one process does, and what that costs."""
