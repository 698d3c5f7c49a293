"""What is asked from outside: looking at the server as the internet sees it."""
