"""The checks: one module for each item of the checklist, and what several of them must agree on."""
