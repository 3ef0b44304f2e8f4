"""Funding agreements as an operator handles them at any party: check, show, propose, sign, list."""
