"""What `vagrant/lab.py` does on the person's own computer, with the standard library alone."""
