"""What is looked for of backups, by subject."""
